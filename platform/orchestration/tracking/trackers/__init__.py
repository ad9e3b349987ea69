"""Trackers, a file each, named by a space's `tracking`. TensorBoard's is always on.

To add a tracker, write its function `log` and its PACKAGE in a file here; no other code lists them.
"""
