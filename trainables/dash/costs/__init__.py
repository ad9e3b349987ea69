"""Costs of nets, cohorts and teachers for plans: parameters, arithmetic, memory, seconds.

No torch here.
"""
