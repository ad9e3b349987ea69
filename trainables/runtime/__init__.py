"""Code that runs on workers: storage, run folders, settings, stopping rules, the Ray worker.

No file here depends on a method. `ray_worker` is the only file below `trainables/` that imports Ray.
"""
