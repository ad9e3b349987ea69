"""What was altered or cut off after it was written is told by name, and made again or refused; never used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import run_sweep
from rich.console import Console

from branchwise.analysis.records.folder import RunFolderError, read_table
from branchwise.orchestration.execution.sweep import fit
from branchwise.orchestration.planning.machine import Cluster
from branchwise.orchestration.planning.plan import Plan, plan_new
from branchwise.orchestration.run_folder.plan_file import write_plan
from branchwise.orchestration.run_folder.teachers import find_teachers
from branchwise.orchestration.space import load_space
from branchwise.trainables import Cohort, Context
from branchwise.trainables.runtime.ray_worker import Job, lend_context, run_cohort_here
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.storage import storage_at

DASH = """\
name: digits
teacher: {channels: [16, 32], norm_groups: 8, steps: 10}
student: {channels: [8, 12], norm_groups: 4}
train: {steps: 10}
design: {components: {anchor: {off: {anchor_weight: 0}}}}
"""


def job_of(plan: Plan) -> Job:
    return Job(
        trainable="surface",
        spec=plan.space.spec.model_dump(mode="json"),
        storage=plan.storage.root,
        run=plan.run.name,
        workers=0,
        threads=1,
        gpus=0.0,
    )


@pytest.fixture
def plan(surface_space: Path, tmp_path: Path) -> Plan:
    return plan_new(load_space(surface_space), storage_at(tmp_path / "storage"), "run")


@pytest.fixture
def run(plan: Plan) -> RunFolder:
    """A finished run, made without Ray."""
    write_plan(plan.run, plan.space, plan.cohorts)
    for cohort in plan.cohorts:
        run_cohort_here(cohort, job_of(plan), publish=None, rank=0, world_size=1, device="cpu")
    return plan.run


@pytest.fixture
def resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        code = run_sweep.main(["--resume", "run", "--storage", str(tmp_path / "storage"), *arguments])
        output = capsys.readouterr()
        return code, output.out + output.err

    return run


Resume = Callable[..., tuple[int, str]]


def flip(file: Path, position: float = 0.5) -> None:
    content = bytearray(file.read_bytes())
    content[int(position * len(content))] ^= 1
    file.write_bytes(bytes(content))


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize("damage", [flip, cut_off])
@pytest.mark.parametrize("table", ["arms", "curves"])
def test_a_table_is_refused_by_the_analysis_and_made_again_by_resume(
    run: RunFolder, resume: Resume, damage: Callable[[Path], None], table: str
) -> None:
    assert resume()[0] == 0
    file = Path(run.path(f"{table}.parquet"))
    whole = file.read_bytes()
    group = whole.index(b"PAR1") + 4 + 16  # within the first page of the first row group
    damage(file) if damage is cut_off else flip(file, group / len(whole))
    with pytest.raises(RunFolderError, match=f"{table}.parquet cannot be read"):
        read_table(Path(run.root), table)
    assert resume()[0] == 0
    assert file.read_bytes() == whole


@pytest.mark.parametrize("damage", [flip, cut_off])
def test_an_arm_whose_record_is_damaged_runs_again(
    run: RunFolder, resume: Resume, damage: Callable[[Path], None]
) -> None:
    damage(Path(run.path("arms/full-b1.json")))
    code, output = resume("--dry-run")
    assert code == 0
    assert "arms/full-b1.json; the arm runs again" in output
    assert "26 have a result already, 1 to run" in output


@pytest.mark.parametrize("damage", [flip, cut_off])
def test_a_manifest_is_made_again(run: RunFolder, resume: Resume, damage: Callable[[Path], None]) -> None:
    assert resume()[0] == 0
    damage(Path(run.path("manifest.json")))
    assert resume()[0] == 0
    assert run.read_manifest()["status"] == "finished"


@pytest.mark.parametrize("damage", [flip, cut_off])
def test_a_plan_or_a_space_is_refused(run: RunFolder, resume: Resume, damage: Callable[[Path], None]) -> None:
    for name in ("space.yaml", "plan.json"):  # the plan is looked at first
        damage(Path(run.path(name)))
        code, output = resume()
        assert code == 2
        assert name in output


@pytest.mark.parametrize("damage", [flip, cut_off])
def test_a_cohort_whose_checkpoint_is_damaged_begins_anew(plan: Plan, damage: Callable[[Path], None]) -> None:
    where: dict[str, Any] = {"rank": 0, "world_size": 1, "device": "cpu", "publish": None}

    def context(use: Callable[[Context], object]) -> object:
        with lend_context(Cohort(name="t0001", arms=()), job_of(plan), plan.run, **where) as lent:
            return use(lent)

    context(lambda lent: lent.save(b"state"))
    assert context(lambda lent: lent.load()) == b"state"
    damage(Path(plan.run.path("checkpoints/t0001")))
    assert context(lambda lent: lent.load()) is None
    assert b"checkpoints/t0001 is damaged" in plan.run.files.read("logs/t0001-checkpoint.txt")


@pytest.mark.parametrize("damage", [flip, cut_off])
def test_a_teacher_that_is_damaged_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    file, model, storage = tmp_path / "space.yaml", tmp_path / "model", storage_at(tmp_path / "storage")
    file.write_text(DASH)
    model.mkdir()
    (model / "weights").write_bytes(b"weights")
    (teacher,) = find_teachers(load_space(file), storage)
    assert not teacher.trained
    storage.put_folder(model, f"teachers/{teacher.key}")
    (again,) = find_teachers(load_space(file), storage)
    assert again.trained
    damage(tmp_path / f"storage/teachers/{teacher.key}/weights")
    assert run_sweep.main(["--space", str(file), "--storage", storage.root]) == 2
    said = capsys.readouterr().err
    assert f"teachers/{teacher.key}/weights is damaged" in said
    assert f"delete {storage.root}/teachers/{teacher.key}" in said
    assert not (tmp_path / "storage/digits").exists()


def test_what_a_cluster_changes_of_a_plan_is_said(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    one = Cluster(nodes=(1,), gpus=0, dashboard="")
    fitted = fit(replace(plan, slots=4), one, Console(width=200))
    assert fitted.slots == 1
    said = capsys.readouterr().out
    assert "Fitted to the cluster: " in said
    assert "1 at a time; planned: " in said
    assert fit(fitted, one, Console(width=200)) == fitted
    assert capsys.readouterr().out == "", "where nothing changes, nothing is said"
