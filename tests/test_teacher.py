"""Training the teachers at the start of a sweep: one, two, interrupted, failing, resumed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from kills import resume, start
from patience import patience

StartSweep = Callable[..., subprocess.Popen[str]]
Sweep = Callable[..., tuple[int, str]]


@pytest.mark.slow(35)
def test_interrupted_teacher_ends_sweep_with_130(start_sweep: StartSweep, root: Path, tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    endless = ("--set", "teacher.steps=100000", "--set", "teacher.workers=1")
    process = start_sweep("--space", root / "search_spaces/smoke.yaml", "--storage", storage, *endless)
    while not any(storage.glob("teachers/*.unfinished/progress/teacher.json")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=patience(200))
    assert process.returncode == 130, output
    assert "--resume smoke" in output


TRAINED = """\
name: taught
trainable: surface
teacher: {steps: 2, seconds_per_step: 0.1}
design:
  components:
    short_teacher: {off: {teacher.steps: 300}}
    anchor: {off: {anchor_weight: 0}}
  blocks: 3
  claims: [short_teacher.shapley < 0]
"""


@pytest.mark.long(100)
def test_sweep_killed_in_second_teacher_resumes(tmp_path: Path) -> None:
    space, storage = tmp_path / "space.yaml", tmp_path / "runs"
    space.write_text(TRAINED)
    log = storage.with_suffix(".log")
    process = start("--space", space, "--storage", storage, log=log)
    while not any(_step(report) >= 20 for report in storage.glob("teachers/*.unfinished/progress/teacher.json")):
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    process.kill()
    process.wait()
    (first,) = (path for path in storage.glob("teachers/*") if not path.name.endswith(".unfinished"))
    created = first.stat().st_mtime_ns
    assert not list((storage / "taught").glob("arms/*.json"))

    assert resume(storage, "taught") == 0, log.read_text()
    assert first.stat().st_mtime_ns == created, "the first teacher was trained again"
    details = {item.name: json.loads((item / "teacher.json").read_text()) for item in storage.glob("teachers/*")}
    assert sorted(entry["steps"] for entry in details.values()) == [2, 300]
    assert max(element["resumed_from"] for element in details.values()) >= 10

    arms = pd.read_parquet(storage / "taught/arms.parquet")
    assert len(arms) == 12
    for row in arms.to_dict("records"):
        steps = 2 if row["cell"] in ("full", "short_teacher") else 300
        assert details[row["teacher"]]["steps"] == steps
        assert row["teacher_value"] == pytest.approx(19.0 * (1 + 1 / steps))
    manifest = json.loads((storage / "taught/manifest.json").read_text())
    assert [teacher["cells"] for teacher in manifest["teachers"]] == [["full", "short_teacher"], ["anchor", "base"]]
    report = json.loads((storage / "taught/report/ablation.json").read_text())
    assert {"teacher", "teacher of anchor, base"} <= {row["cell"] for row in report["cells"]}
    assert [claim["verdict"] for claim in report["claims"]] == ["supported"]


def _step(report: Path) -> int:
    try:
        return int(json.loads(report.read_text())["step"])
    except FileNotFoundError:  # it has just moved on
        return 0


DASH = """\
name: two-teachers
teacher: {channels: [8, 8], norm_groups: 4, steps: 40, batch_size: 16, lr: 3.0e-3, ema: 0.5, workers: 1}
student: {channels: [8, 8], norm_groups: 4}
train: {steps: 10, batch_size: 16, lr: 3.0e-3, ema: 0.5}
evaluate: {samples: 640, sampler_steps: 2, gap_samples: 4}
design:
  components:
    long_teacher: {off: {teacher.steps: 4}}
  blocks: 2
"""


@pytest.mark.long(80)
def test_students_of_dash_learn_from_teacher_of_their_cell(sweep: Sweep, tmp_path: Path) -> None:
    space, storage = tmp_path / "space.yaml", tmp_path / "runs"
    space.write_text(DASH)
    code, output = sweep("--space", space, "--storage", storage)
    assert code == 0, output
    arms = pd.read_parquet(storage / "two-teachers/arms.parquet")
    trained = {}
    for cell in ("full", "base"):
        rows = arms[arms["cell"] == cell]
        (key,), (value,) = rows["teacher"].unique(), rows["teacher_value"].unique()
        trained[cell] = key, value
    assert trained["full"][0] != trained["base"][0]
    assert trained["full"][1] != trained["base"][1]
    for cell, steps in (("full", 40), ("base", 4)):
        key, value = trained[cell]
        created = json.loads((storage / "teachers" / key / "teacher.json").read_text())
        assert created["teacher"]["steps"] == steps
        (evaluated,) = (storage / "teachers" / key / "evaluations").glob("*.json")
        assert json.loads(evaluated.read_text())["value"] == value
    by_seed = arms.pivot_table(index="seed", columns="cell", values="value")
    assert (by_seed["full"] != by_seed["base"]).all(), "the component changed nothing"
    assert re.search("long_teacher +", output)


@pytest.mark.long(80)
def test_teacher_chooses_guidance_before_its_students_train(sweep: Sweep, root: Path, tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    settings = {
        "evaluate.guidance": "{choose: [6.0, {w_min: 1.0, w_max: 2.0, beta: 5.0}]}",
        "evaluate.at_steps": "[10, 20]",
        "design.blocks": "1",
    }
    overrides = [argument for key, value in settings.items() for argument in ("--set", f"{key}={value}")]
    code, output = sweep("--space", root / "search_spaces/smoke.yaml", "--storage", storage, *overrides)
    assert code == 0, output
    (teacher,) = json.loads((storage / "smoke/manifest.json").read_text())["teachers"]
    tried = {json.dumps(row["guidance"]): row["value"] for row in teacher["guidance_candidates"]}
    assert len(tried) == 2
    assert tried[json.dumps(teacher["chosen_guidance"])] == min(tried.values())
    arms = pd.read_parquet(storage / "smoke/arms.parquet")
    (key,) = set(arms["comparability_key"])
    assert key == teacher["comparability_key"]
    message = {"6.0": 6.0}.get(json.dumps(teacher["chosen_guidance"]), "adaptive 1 to 2, beta 5")
    assert json.loads(key)["guidance"] == message
    assert set(arms["floor_halves"]) == {teacher["floor_halves"]}
    assert set(arms["floor_halves_samples"]) == {898}
    assert arms["floor_held_out"].isna().all()
    budgets = pd.read_parquet(storage / "smoke/budgets.parquet")
    assert budgets.groupby("arm")["step"].apply(list).tolist() == [[10, 20]] * len(arms)
    for column in ("value", "relative_gap", "mse_cond", "mse_uncond", "gap_mse", "rho"):
        assert budgets[column].notna().all()
    assert "Outcomes against training steps" in (storage / "smoke/report/index.html").read_text()
