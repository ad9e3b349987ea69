"""Plots of a report, a module per subject; `axes` has shared parts, `palette` cell styles."""
