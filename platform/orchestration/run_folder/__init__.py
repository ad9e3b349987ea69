"""What a run keeps: its plan and manifest, the tables made of its records, its lock, and the teachers next to it.

`trainables/runtime/run_folder.py` knows where each file lies; this room knows what is in it.
"""
