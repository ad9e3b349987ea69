"""What a run declares before it starts: factors, their levels and cells, outcomes and their scales."""
