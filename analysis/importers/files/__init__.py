"""Files that any program may write: a module for each format; `sources.READERS` lists those that are tables of runs."""
