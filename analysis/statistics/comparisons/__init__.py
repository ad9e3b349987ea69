"""Comparisons without a shared design: unpaired runs, two runs or cells, multiple data sets."""
