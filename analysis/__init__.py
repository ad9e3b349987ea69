"""Attribution of an ablation: records -> fitted model -> contrasts, claims, planning -> tables, plots, report.

No module here imports torch or Ray. `analysis.claims` and `analysis.cells` are plain Python; `analysis.planning` costs
NumPy and `scipy.special`; only the report pulls in pandas, matplotlib and Jinja2.
"""
