"""Files modified or truncated after they were written are named, and rebuilt or refused; never used."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from branchwise.analysis.__main__ import main as analyze
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.folder import read_table
from branchwise.analysis.verify import Check, checks
from branchwise.commands import run_sweep
from branchwise.orchestration.execution.sweep import fit
from branchwise.orchestration.planning.machine import Cluster
from branchwise.orchestration.planning.plan import Plan, plan_new
from branchwise.orchestration.run_folder.manifest import write_manifest
from branchwise.orchestration.run_folder.plan_file import write_plan
from branchwise.orchestration.run_folder.tables import collect
from branchwise.orchestration.run_folder.teachers import find_teachers
from branchwise.orchestration.space import load_space
from branchwise.trainables import Cohort, Context
from branchwise.trainables.runtime.job import Job, worker_context
from branchwise.trainables.runtime.kinds import run_job
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
    """A finished run, created without Ray."""
    write_plan(plan.run, plan.space, plan.cohorts)
    for cohort in plan.cohorts:
        run_job(cohort, job_of(plan))
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


@pytest.fixture
def tables(plan: Plan, run: RunFolder) -> Path:
    """The folder of a finished run with its tables, but without a report."""
    collect(run, plan.space, {arm.name: number for number, arm in enumerate(plan.arms)}, ())
    return Path(run.root)


@pytest.mark.parametrize("damage", [flip, cut_off])
@pytest.mark.parametrize("table", ["arms", "curves"])
def test_damaged_table_is_rebuilt_by_resume(
    run: RunFolder,
    tables: Path,
    resume: Resume,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
    table: str,
) -> None:
    file = tables / f"{table}.parquet"
    complete = file.read_bytes()
    damage(file)
    assert analyze([run.root, "--out", f"{run.root}-report"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert f"{table}.parquet is damaged" in output.err
    assert "`branchwise resume run` makes it again" in output.err
    assert not Path(f"{run.root}-report").exists()
    assert resume()[0] == 0
    assert file.read_bytes() == complete


def test_flipped_bits_of_table_are_detected(tables: Path) -> None:
    for name in ("arms.parquet", "SHA256SUMS"):
        complete = (tables / name).read_bytes()
        for bit in range(0, 8 * len(complete), max(1, 8 * len(complete) // 300)):
            content = bytearray(complete)
            content[bit // 8] ^= 1 << bit % 8
            (tables / name).write_bytes(content)
            with pytest.raises(RunFolderError, match="is damaged"):
                read_table(tables, "arms")
        (tables / name).write_bytes(complete)
    assert len(read_table(tables, "arms")) == 27


def test_missing_table_is_reported(tables: Path) -> None:
    (tables / "arms.parquet").rename(tables / "kept")
    with pytest.raises(RunFolderError, match=r"arms\.parquet is missing"):
        read_table(tables, "arms")
    (tables / "SHA256SUMS").unlink()  # as in runs written by hand
    assert read_table(tables, "arms").empty
    (tables / "kept").rename(tables / "arms.parquet")
    assert len(read_table(tables, "arms")) == 27


def test_sha256sum_checks_tables_too(tables: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tables, check=True, capture_output=True)


def test_verify_finds_row_without_record(plan: Plan, tables: Path) -> None:
    def records() -> Check:
        (check,) = (check for check in checks(tables) if check.name == "records")
        return check

    write_manifest(plan.run, plan.space, status="finished", arms=plan.total)
    assert records().holds
    (tables / "arms/full-b0.json").unlink()
    assert records() == Check("records", False, "arms of arms.parquet without a record: full-b0")


@pytest.mark.slow
def test_what_was_sealed_before_run_is_compared(
    run: RunFolder, resume: Resume, capsys: pytest.CaptureFixture[str]
) -> None:
    def output_of(code: int) -> str:
        capsys.readouterr()
        assert analyze([run.root]) == code
        output = capsys.readouterr()
        return output.out + output.err

    assert resume()[0] == 0
    space, text = Path(run.space_path()), run.read_space().decode()
    assert "Claims written before the run" in output_of(0)
    space.write_text(f"{text}# a remark\n")
    remarked = output_of(0)
    assert "Claims written before the run" in remarked
    assert "space.yaml was changed after the run began" in remarked
    space.write_text(text.replace("uncond_branch.share > 0.60", "uncond_branch.share > 0.20"))
    for name in ("plan.json", "manifest.json"):
        edited_output = output_of(0)
        assert "Claims edited after the run" in edited_output
        assert "written before the run" not in edited_output
        assert "exploratory" in edited_output
        assert json.loads(Path(run.path("report/ablation.json")).read_text())["claims_edited"] is True
        file, content = Path(run.path(name)), Path(run.path(name)).read_text()
        file.write_text(content.replace('"anchor"', '"anchors"'))
        assert f"{name} is damaged" in output_of(2)
        file.write_text(content)
    Path(run.path("manifest.json")).unlink()  # and with it the seal of the claims
    assert "Claims edited after the run" in output_of(0)


@pytest.mark.parametrize("damage", [flip, cut_off])
def test_arm_with_damaged_record_reruns(run: RunFolder, resume: Resume, damage: Callable[[Path], None]) -> None:
    damage(Path(run.path("arms/full-b1.json")))
    code, output = resume("--dry-run")
    assert code == 0
    assert "arms/full-b1.json; the arm runs again" in output
    assert "26 have a result already, 1 to run" in output


@pytest.mark.parametrize("damage", [flip, cut_off])
def test_manifest_is_rebuilt(run: RunFolder, resume: Resume, damage: Callable[[Path], None]) -> None:
    assert resume()[0] == 0
    damage(Path(run.path("manifest.json")))
    assert resume()[0] == 0
    assert run.read_manifest()["status"] == "finished"


@pytest.mark.parametrize("damage", [flip, cut_off])
def test_plan_or_space_is_refused(run: RunFolder, resume: Resume, damage: Callable[[Path], None]) -> None:
    for name in ("space.yaml", "plan.json"):  # the plan is inspected first
        damage(Path(run.path(name)))
        code, output = resume()
        assert code == 2
        assert name in output


@pytest.mark.parametrize("damage", [flip, cut_off])
def test_cohort_with_damaged_checkpoint_restarts(plan: Plan, damage: Callable[[Path], None]) -> None:
    def context(use: Callable[[Context], object]) -> object:
        with worker_context(Cohort(name="t0001", arms=()), job_of(plan)) as provided:
            return use(provided)

    context(lambda provided: provided.save(b"state"))
    assert context(lambda provided: provided.load()) == b"state"
    damage(Path(plan.run.path("checkpoints/t0001")))
    assert context(lambda provided: provided.load()) is None
    assert b"checkpoints/t0001 is damaged" in plan.run.files.read("logs/t0001-checkpoint.txt")


@pytest.mark.parametrize("damage", [flip, cut_off])
def test_teacher_that_is_damaged_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    file, model, storage = tmp_path / "space.yaml", tmp_path / "model", storage_at(tmp_path / "storage")
    file.write_text(DASH)
    model.mkdir()
    (model / "weights").write_bytes(b"weights")
    (teacher,) = find_teachers(load_space(file), storage)
    assert not teacher.trained
    storage.put_folder(model, f"teachers/{teacher.key}")
    (repeated,) = find_teachers(load_space(file), storage)
    assert repeated.trained
    damage(tmp_path / f"storage/teachers/{teacher.key}/weights")
    assert run_sweep.main(["--space", str(file), "--storage", storage.root]) == 2
    output = capsys.readouterr().err
    assert f"teachers/{teacher.key}/weights is damaged" in output
    assert f"delete {storage.root}/teachers/{teacher.key}" in output
    assert not (tmp_path / "storage/digits").exists()


def test_cluster_changes_of_plan_are_reported(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    first = Cluster(nodes=(1,), gpus=0, dashboard="")
    fit_to_cluster = fit(replace(plan, slots=4), first, Console(width=200))
    assert fit_to_cluster.slots == 1
    output = capsys.readouterr().out
    assert "Fitted to the cluster: " in output
    assert "1 at a time; planned: " in output
    assert fit(fit_to_cluster, first, Console(width=200)) == fit_to_cluster
    assert capsys.readouterr().out == "", "where nothing changes, nothing is said"
