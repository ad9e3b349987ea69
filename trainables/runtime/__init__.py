"""The room that workers run in: storage and the layout of a run folder, settings, stopping rules, and the Ray worker.

Nothing here knows a method. `ray_worker` is the one file below `trainables/` that imports Ray.
"""
