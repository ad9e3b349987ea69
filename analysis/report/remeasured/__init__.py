"""Report on the remeasurements of a run: tables, plots, and the cost of its models."""
