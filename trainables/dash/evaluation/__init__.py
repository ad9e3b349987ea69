"""Evaluation of samples: feature extractors, the reference set, distances, guidance gaps, grids of samples."""
