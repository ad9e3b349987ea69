"""Sweeps from the command line in a process that has started Ray: a single start for all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from branchwise.orchestration.execution.cluster import cluster
from branchwise.orchestration.execution.trials import reason_of, run_cohorts
from branchwise.orchestration.space import Resources, load_space
from branchwise.trainables import Arm, Cohort
from branchwise.trainables.runtime.job import Job
from branchwise.trainables.runtime.settings import digest, patched

Sweep = Callable[..., tuple[int, str]]

pytestmark = [pytest.mark.slow(35), pytest.mark.usefixtures("ray_session")]


def test_names_are_free_or_refused(sweep_in_process: Sweep, surface_space: Path, tmp_path: Path) -> None:
    arguments = ("--space", surface_space, "--storage", tmp_path, "--set", "design.blocks=1")
    code, output = sweep_in_process(*arguments)
    assert code == 0, output
    run = tmp_path / "surface-ablation"
    before = (run / "arms.parquet").read_bytes()
    code, output = sweep_in_process(*arguments)
    assert code == 0, output
    assert (tmp_path / "surface-ablation-2/arms.parquet").exists()
    assert (run / "arms.parquet").read_bytes() == before
    code, output = sweep_in_process(*arguments, "--name", "surface-ablation")
    assert code == 2
    assert "exists already" in output


def test_teacher_that_diverges_ends_sweep_with_its_reason(sweep_in_process: Sweep, root: Path, tmp_path: Path) -> None:
    space, storage = root / "search_spaces/smoke.yaml", tmp_path / "runs"
    code, output = sweep_in_process(
        "--space", space, "--storage", storage, "--set", "teacher.lr=1e30", "--set", "resources.max_retries=0"
    )
    assert code == 3, output
    assert "the teacher's training failed: FloatingPointError: the teacher's loss or its gradient was not" in output
    assert "Traceback" not in output
    (log,) = storage.glob("teachers/*.unfinished/logs/teacher.txt")
    assert str(log) in output
    assert "in train_teacher" in log.read_text()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("Traceback\n  in train\nValueError: lr\n", "ValueError: lr"),
        (
            "Training failed due to worker errors:\n[Rank 0 Error Snippet]:\n  in train\nFloatingPointError: nan\n"
            "[Rank 1 Error Snippet]:\n  in all_reduce\nRuntimeError: Connection closed by peer [127.0.0.1]:4\n",
            "FloatingPointError: nan",
        ),
        (
            "[Rank 0 Error Snippet]:\nRuntimeError: Connection closed by peer\n",
            "RuntimeError: Connection closed by peer",
        ),
        ("\n", "unknown error"),
    ],
)
def test_reason_is_of_worker_that_failed_first(error: str, reason: str) -> None:
    assert reason_of(error) == reason


def test_data_sets_run_as_single_sweep(sweep_in_process: Sweep, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(
        "{name: two, trainable: surface, train: {steps: 3}, teacher: {steps: 3}, design: {blocks: 2, components: "
        "{anchor: {off: {anchor_weight: 0}}}, across: {task: {short: {teacher.steps: 3}, long: {teacher.steps: 6}}}}}"
    )
    code, output = sweep_in_process("--space", tmp_path / "space.yaml", "--storage", tmp_path)
    assert code == 0, output
    arms = pd.read_parquet(tmp_path / "two/arms.parquet").set_index(["across.task", "cell", "block"])
    assert arms["status"].eq("done").all()
    assert {key: set(rows) for key, rows in arms.groupby("across.task")["seed"]} == {
        "short": {0, 1}, "long": {1000, 1001}
    }  # fmt: skip
    assert arms.groupby("across.task")["teacher_value"].nunique().eq(1).all()
    assert arms["teacher_value"].nunique() == 2
    assert "Across data sets" in (tmp_path / "two/report/index.html").read_text()


MEASURED = """\
\"\"\"The surface with arms that can be measured under other noise.\"\"\"
from branchwise.trainables.contract import Result
from branchwise.trainables.surface import *  # noqa: F403
from branchwise.trainables.runtime.settings import digest

MEASURED = ("noise",)


def evaluation_key(spec):
    return digest(spec.noise.block)


def estimate_measure(spec, teacher, on):
    return 1.0


def measure_model(arm, model, context):
    if arm.spec.noise.block == 1.0:
        raise RuntimeError("no such noise")
    context.report({"phase": "evaluate", "step": 1, "steps": 1})
    return Result(status="done", values={"value": arm.spec.noise.block})
"""


def test_failing_measure_does_not_stop_others(surface_space: Path, tmp_path: Path) -> None:
    (tmp_path / "measured_surface.py").write_text(MEASURED)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights").write_text("")
    job = Job(
        kind="measurement", trainable="measured_surface", spec={}, storage=str(tmp_path), run="one", workers=0,
        threads=1, gpus=0.0, folder=str(tmp_path),
    )  # fmt: skip
    job.run_folder().put_model("full-b0", tmp_path / "model")
    spec, blocks = job.base_spec(), (0.5, 1.0, 2.0)
    patches = [{"noise.block": block} for block in blocks]
    arms = [Arm(name="full-b0", seed=0, spec=patched(spec, patch), patch=patch) for patch in patches]
    cohort = Cohort(name="m0000", arms=tuple(arms))
    with cluster(None, tmp_path / "ray.log", load_space(surface_space)):
        run_cohorts([cohort], job, Resources(max_retries=0), slots=1)
    assert [job.is_finished(arm) for arm in arms] == [True, False, True]
    assert job.measurements().folder(digest(2.0)).read_record("full-b0")["values"] == {"value": 2.0}
    logs = job.work_folder().files / "logs"
    assert logs.names("") == ["m0000.0.txt"]
    assert b"RuntimeError: no such noise" in logs.read("m0000.0.txt")
    assert not job.run_folder().record_names()
