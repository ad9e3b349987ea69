"""How a report shows what was measured again of a run."""
