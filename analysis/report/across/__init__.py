"""The report on multiple data sets: the effect of each component on each of them, and across them."""
