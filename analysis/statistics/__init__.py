"""The numbers: cells and claims (plain Python), the model, contrasts, attribution, verdicts, variance, power.

`findings` computes all results in the report of a run.
"""
