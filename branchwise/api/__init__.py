"""The Python API: functions that run, load and analyse ablations, and the `Study` that they return.

Import the names from `branchwise`.
"""
