"""The room that workers run in: storage and the layout of a run folder, settings, stopping rules, and the Ray worker.

No file here depends on a method. `ray_worker` is the only file below `trainables/` that imports Ray.
"""
