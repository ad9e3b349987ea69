"""The next cohorts of Ray Tune: planned (`queue`), or by Optuna (`searcher`, `studies`).

Optuna is imported when a search begins, not for other designs.
"""
