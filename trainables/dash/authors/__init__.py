"""The authors' public implementation: its checkpoints and its names of weights."""
