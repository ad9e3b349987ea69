"""Data sets as tensors, and the batch of a step."""
