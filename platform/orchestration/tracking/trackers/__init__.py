"""Trackers, a file each, called by the name that a space gives in `tracking`. TensorBoard's is always on.

To add a tracker, write its function `log` and its PACKAGE in a file here; no other code lists them.
"""
