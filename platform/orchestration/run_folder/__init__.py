"""The content of a run folder: plan and manifest, tables built from records, lock, and the teachers next to it.

`trainables/runtime/run_folder.py` knows where each file is; this package knows its content.
"""
