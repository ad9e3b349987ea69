"""Callbacks of training frameworks.

They report the framework's metrics to Branchwise, and stop its loop when a search stops the arm.

A file for each framework, which is imported with it: `lightning`, `hugging_face`.
"""
