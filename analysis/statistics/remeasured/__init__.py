"""Results of remeasuring a run: effects under each measure, curves along varied settings."""
