"""What trackers and tuners leave: one module for each, with the `Reader` that `sources.READERS` lists."""
