"""Sequential, extended and reusing runs that are killed and resumed: the same looks, verdicts and bits."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kills import differences, kill, resume, start
from rich.console import Console

from branchwise.analysis.records.folder import load_run
from branchwise.analysis.statistics.findings import analyze_part
from branchwise.orchestration.execution import sweep
from branchwise.orchestration.execution.trials import job_of
from branchwise.orchestration.planning.extending import Extension, plan_extended
from branchwise.orchestration.planning.plan import Plan, plan_new, plan_resumed
from branchwise.orchestration.run_folder.lock import hold
from branchwise.orchestration.run_folder.manifest import write_manifest
from branchwise.orchestration.run_folder.plan_file import write_plan
from branchwise.orchestration.run_folder.reuse import copy_records, counts
from branchwise.orchestration.space import load_space
from branchwise.trainables.contract import Cohort
from branchwise.trainables.runtime.kinds import run_job
from branchwise.trainables.runtime.storage import Storage, storage_at

SPACE = """\
name: grows
trainable: surface
train: {steps: 3}
design:
  components:
    uncond_branch: {off: {uncond_weight: 0}}
    anchor: {off: {anchor_weight: 0}}
  baselines: [scratch]
  blocks: {first: 4, max: 7}
  claims: [uncond_branch.share > 0.60, full.value < scratch.value]
resources: {arms_per_trial: 2}
"""
NOT_STATE = ("name", "started", "ended", "argv", "spent")  # of a manifest: what distinguishes runs


def carry_out(plan: Plan, cohorts: float = float("inf")) -> Path:
    """Runs a plan in this process, by the code of workers and looks, until it dies before another cohort."""
    remaining = iter(range(10**6 if cohorts == float("inf") else int(cohorts)))
    with hold(plan.run.files) as lease:
        run_session = sweep.RunSession(plan, lease)
        reused = {"reused": counts(plan.reused)} if plan.reused else {}
        if not plan.resumed:
            reused_cohorts = tuple(Cohort(name=f"reused-{item.arm.name}", arms=(item.arm,)) for item in plan.reused)
            write_plan(plan.run, plan.space, (*plan.cohorts, *reused_cohorts), plan.extends)
            copy_records(plan.run, plan.reused)
        write_manifest(plan.run, plan.space, status="running", arms=plan.total, teachers=[], **reused)

        def run_stage(stage: Any) -> None:
            for cohort in stage:
                next(remaining)
                job = job_of(plan.space, plan.run)
                run_job(cohort, job)

        if plan.space.design.looks:
            sweep.work_by_looks(run_session, plan, run_stage, Console(quiet=True))
        else:
            run_stage(plan.cohorts)
        sweep.collect_session(run_session, "finished")
    assert plan.run.files.local is not None
    return plan.run.files.local


def killed(plan: Plan, storage: Storage, at: tuple[int, ...]) -> Path:
    """The same, killed before each of these cohorts and resumed."""
    for cohorts in at:
        with pytest.raises(StopIteration):
            carry_out(plan, cohorts)
        plan = plan_resumed(storage, plan.run.name)
    return carry_out(plan)


def verdicts(folder: Path) -> list[Any]:
    findings = analyze_part(load_run(folder))
    rows = [(row.component, row.effect, repr(row.p_holm)) for row in findings.headline.rows]
    lines = [(item.claim.text, item.status, item.reason, repr(item.test)) for item in findings.verdicts]
    return [*map(repr, rows), *lines, repr(findings.looks)]


def state(folder: Path) -> dict[str, Any]:
    manifest = json.loads((folder / "manifest.json").read_text())
    return {key: value for key, value in manifest.items() if key not in NOT_STATE and key != "sha256"}


def assert_equal_runs(disturbed: Path, expected: Path) -> None:
    assert differences(disturbed, expected) == []
    assert verdicts(disturbed) == verdicts(expected)
    assert state(disturbed) == state(expected)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    (tmp_path / "grows.yaml").write_text(SPACE)
    return storage_at(tmp_path / "runs")


def test_killed_growing_runs_equal_uninterrupted(storage: Storage, tmp_path: Path) -> None:
    space = load_space(tmp_path / "grows.yaml")
    first = carry_out(plan_new(space, storage, "first"))
    looks = state(first)["looks"]
    assert [interim["blocks"] for interim in looks] == list(range(4, 4 + len(looks)))
    assert state(first)["stopped_after"] == looks[-1]["blocks"]
    assert_equal_runs(killed(plan_new(space, storage, "second"), storage, (1, 5, 4, 1)), first)

    seeds = Extension(name="first", blocks=looks[-1]["blocks"] + 2)
    new = {"slow": {"off": {"train.steps": 2}}}
    for name, extension in (
        ("seeds", seeds),
        ("part", Extension(name="first", components=new, claims=["slow.shapley > 0"])),
        ("fresh", replace(seeds, confirm=True)),
    ):
        complete = carry_out(plan_extended(storage, extension, name))
        if extension.confirm:
            continue  # a second confirmation uses other seeds
        assert state(complete)["reused"] == {"first": 5 * looks[-1]["blocks"]}
        assert_equal_runs(killed(plan_extended(storage, extension, f"{name}-killed"), storage, (0, 1, 2)), complete)

    more = load_space(tmp_path / "grows.yaml", ["design.blocks=9", "reuse=[first]"])
    complete = carry_out(plan_new(more, storage, "reusing"))
    assert_equal_runs(killed(plan_new(more, storage, "reusing-killed"), storage, (0, 3)), complete)


@pytest.mark.long(180)
def test_runs_killed_on_ray_equal_uninterrupted_runs(storage: Storage, tmp_path: Path) -> None:
    file, log = tmp_path / "grows.yaml", tmp_path / "log"
    file.write_text(SPACE.replace("steps: 3", "steps: 3, seconds_per_step: 0.1"))

    def killed_on_ray(name: str, *arguments: object, arms: int) -> Path:
        process = start(*arguments, "--storage", storage.root, "--name", name, log=log)
        run = Path(storage.path(name))
        while len(list(run.glob("arms/[!.]*.json"))) < arms:
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        assert kill("driver", process)
        process.wait()
        assert len(list(run.glob("arms/[!.]*.json"))) < state(run)["arms"], "nothing was left to resume"
        assert resume(Path(storage.root), name) == 0, Path(storage.root).with_suffix(".log").read_text()
        return run

    first = carry_out(plan_new(load_space(file), storage, "first"))
    assert_equal_runs(killed_on_ray("first-killed", "--space", file, arms=7), first)
    blocks = state(first)["stopped_after"]
    more = carry_out(plan_extended(storage, Extension(name="first", blocks=blocks + 2), "more"))
    extend = "--extend", "first", "--blocks", blocks + 2
    assert_equal_runs(killed_on_ray("more-killed", *extend, arms=5 * blocks + 3), more)
    reusing = carry_out(plan_new(load_space(file, ["design.blocks=9", "reuse=[first]"]), storage, "reusing"))
    reuse = "--space", file, "--set", "design.blocks=9", "--reuse", "first"
    assert_equal_runs(killed_on_ray("reusing-killed", *reuse, arms=5 * blocks + 3), reusing)
