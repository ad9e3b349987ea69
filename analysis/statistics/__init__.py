"""Statistics: cells and claims, model, contrasts, attribution, verdicts, variance, power.

Cells and claims are plain Python. `findings` computes all results in the report of a run.
"""
