"""Evaluation of samples: features, the reference set, distances, guidance gaps, grids."""
