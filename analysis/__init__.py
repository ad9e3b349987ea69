"""Attribution of an ablation: records -> model -> contrasts, claims, planning -> report.

No module here imports torch or Ray. `declared` needs at most NumPy, and `statistics.power` SciPy, so that a plan starts
at once; records, the other statistics and the report import pandas, matplotlib and Jinja2.
"""
