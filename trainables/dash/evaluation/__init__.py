"""What samples are worth: feature extractors, the reference set, distances, guidance gaps, grids of samples."""
