"""The U-Nets: building, pruning, saving them, and their forward passes."""
