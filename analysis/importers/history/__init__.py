"""Histories of metrics: how readers keep them, and the value that is a run's result."""
