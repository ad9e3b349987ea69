"""How a report shows what was remeasured of a run."""
