"""Files of trackers and tuners: a module for each; `sources.READERS` lists them."""
