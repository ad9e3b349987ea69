"""Comparisons of what shares no design: unpaired runs, two runs or cells, effects over multiple data sets."""
