"""Trainables: the contract between platform and method, the workers' runtime, the methods.

The contract's names can be imported from here; `contract.py` explains them.
"""

from branchwise.run_files.columns import Column, PlotSpec
from branchwise.trainables.columns import OUTCOME, outcome
from branchwise.trainables.contract import Arm, Cohort, Context, CostEstimate, Device, RequiredFile, Result, Trainable
from branchwise.trainables.runtime.loading import BUILT_IN, DEFAULT, load_trainable

__all__ = [
    "BUILT_IN",
    "DEFAULT",
    "OUTCOME",
    "Arm",
    "Cohort",
    "Column",
    "Context",
    "CostEstimate",
    "Device",
    "PlotSpec",
    "RequiredFile",
    "Result",
    "Trainable",
    "load_trainable",
    "outcome",
]
