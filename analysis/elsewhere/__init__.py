"""Runs that other programs made: read from their tables and folders, checked, and left as a run folder.

The door is `run_from_table`; `sources.read_runs` makes the table.
"""
