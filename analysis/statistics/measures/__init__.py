"""Results of remeasuring a run: each effect under each measure, and curves along the settings varied."""
