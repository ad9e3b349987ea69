"""The plots of a report, a module for each subject; `axes` has what they share, `palette` the style of each cell."""
