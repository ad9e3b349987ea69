"""Python API: functions that run, load and analyze ablations, and the `Study` they return.

Import the names from `branchwise`.
"""
