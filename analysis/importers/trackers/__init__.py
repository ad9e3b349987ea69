"""Files of trackers and tuners: a module for each, with the `Reader` that `sources.READERS` lists."""
