"""Files of any program, a module per format; `sources.READERS` lists the tables of runs."""
