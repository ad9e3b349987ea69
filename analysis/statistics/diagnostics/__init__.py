"""Caveats about the numbers: sources of noise, what is missing, limits of the design."""
