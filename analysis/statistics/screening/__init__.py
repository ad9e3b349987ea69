"""What a fraction of a factorial tells: main effects, sums of interactions, a ranking, and which components survive."""
