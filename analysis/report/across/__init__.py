"""Report on multiple data sets: the effect of each component on each, and across them."""
