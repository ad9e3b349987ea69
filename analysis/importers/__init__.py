"""Runs of other programs: read from files and folders, checked, written as a run folder.

See `folder.run_from_table`; `sources.READERS` lists the readers. A reader makes a `RunTable`, in which every
cell is text; `arrange` decides what its columns are, and types them.
"""
