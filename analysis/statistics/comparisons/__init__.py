"""Comparisons of what shares no design: unpaired runs, two runs or cells, one effect over multiple data sets."""
