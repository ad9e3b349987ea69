"""What a run declares before it starts: its factors with their levels, the cells they make, and its outcomes."""
