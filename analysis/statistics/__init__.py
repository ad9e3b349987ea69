"""The numbers: cells and claims (plain Python), the model, contrasts, attribution, verdicts, variance, power.

`findings` computes everything that a report says of one run.
"""
