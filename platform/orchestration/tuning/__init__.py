"""What Ray Tune runs next: planned cohorts in their order (`queue`), or what Optuna suggests (`searcher`, `studies`).

Optuna is imported when a search begins, not for other designs.
"""
