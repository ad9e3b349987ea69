"""Declarations before a run: factors, levels, cells, outcomes and their scales."""
