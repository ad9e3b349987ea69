"""The Python API: functions that run, load and analyze ablations, and the `Study` that they return.

Import the names from `branchwise`.
"""
