"""Results of a fractional factorial: main effects, sums of interactions, a ranking, and which components survive."""
