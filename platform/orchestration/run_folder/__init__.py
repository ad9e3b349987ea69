"""The content of a run folder: plan, manifest, tables from records, lock, and its teachers.

`trainables/runtime/run_folder.py` knows where each file is; this package knows its content.
"""
