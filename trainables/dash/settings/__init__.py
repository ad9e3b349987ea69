"""The settings of a distillation, and consequences of them computed without torch.

These are costs, addresses, columns and needed files.
"""
