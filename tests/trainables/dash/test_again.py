"""A finished student remeasured by the trainable: under its settings bit for bit, under others otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recorded_calls import RecordedCalls

import branchwise.trainables.dash as dash
from branchwise.trainables import Arm
from branchwise.trainables.runtime.settings import patched

NOT_VALUES = {"steps", "train_seconds", "eval_seconds", "sample_seconds", "sample_memory", "device"}


@pytest.mark.slow
@pytest.mark.parametrize("patch", [{}, {"objective": "single_head"}])
def test_same_settings_reproduce_training_numbers(
    spec: dash.Spec, teacher_folder: Path, calls: RecordedCalls, tmp_path: Path, patch: dict[str, Any]
) -> None:
    arm = Arm(name="one", seed=3, spec=patched(spec, patch), patch=patch)
    context = calls.context(tmp_path, teacher_folder)
    dash.run_cohort([arm], context)
    first, model = calls.results["one"], calls.student("one")
    assert model is not None
    repeated = dash.measure_model(arm, model, context)
    assert first.values.keys() - repeated.values.keys() == {"steps", "train_seconds", "eval_seconds"}
    for name in repeated.values.keys() - NOT_VALUES:
        assert repeated.values[name] == first.values[name], name
    assert repeated.tables["gaps"] == first.tables["gaps"]

    other = replace(arm, spec=patched(arm.spec, {"evaluate.guidance": 2.0, "evaluate.sampler_steps": 3}))
    different = dash.measure_model(other, model, context)
    assert different.values["value"] != first.values["value"]
    assert different.values["rho"] == first.values["rho"]  # no gap depends on a sampler
    assert '"sampler_steps":3' in different.values["comparability_key"]
