"""Readers of run folders.

Begin with `folder.load_run`; `outline` has what was planned, `comparing` checks comparisons.
"""
