"""A plan for machines that are not here: their table, seconds, memory and money; and what is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.planning import gpus
from branchwise.orchestration.planning.cost_estimate import cohort_estimate
from branchwise.orchestration.planning.gpus import name_in_table, read_table, target
from branchwise.orchestration.planning.plan import Plan, plan_new
from branchwise.orchestration.planning.rates import add_rates, processor, rates_file, read_rates
from branchwise.orchestration.space import load_space
from branchwise.trainables.dash.costs import work
from branchwise.trainables.dash.costs.seconds import rate_of
from branchwise.trainables.runtime.storage import storage_at

Sweep = Callable[..., tuple[int, str]]
ROOT = Path(__file__).resolve().parents[2]
FOR_GPUS = [file for file in sorted(ROOT.glob("search_spaces/*.yaml")) if "gpus_per_trial" in file.read_text()]


@pytest.fixture(autouse=True)
def _no_measured_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def planned(space: str, for_: str, tmp_path: Path, *settings: str) -> Plan:
    loaded = load_space(ROOT / f"search_spaces/{space}.yaml", settings)
    return plan_new(loaded, storage_at(tmp_path / "runs"), None, target(for_))


PLANS = """
import contextlib, io, json, os, sys

from branchwise.commands import run_sweep

imports = sum(os.times()[:2])
for space in sys.argv[2:]:
    begun, said = sum(os.times()[:2]), io.StringIO()
    with contextlib.redirect_stdout(said):
        code = run_sweep.main(["--space", space, "--dry-run", "--for", "8xH100", "--storage", sys.argv[1]])
    seconds = imports + sum(os.times()[:2]) - begun
    heavy = sorted({"torch", "ray", "pandas", "diffusers"} & set(sys.modules))
    print(json.dumps({"code": code, "seconds": seconds, "heavy": heavy, "said": said.getvalue()}))
"""


@pytest.fixture(scope="module")
def dry_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, dict[str, Any]]:
    """The dry run of each space for GPUs, in turn in a separate process."""
    folder = tmp_path_factory.mktemp("dry")
    ran = subprocess.run(
        [sys.executable, "-c", PLANS, str(folder / "runs"), *map(str, FOR_GPUS)],
        cwd=ROOT, env=os.environ | {"XDG_CACHE_HOME": str(folder)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert list(folder.iterdir()) == []
    return dict(zip(FOR_GPUS, map(json.loads, ran.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("space", FOR_GPUS, ids=lambda file: file.stem)
def test_gpu_spaces_are_planned_without_torch(space: Path, dry_runs: dict[Path, dict[str, Any]]) -> None:
    """Seconds of the processor, imports included: those of the clock depend on what else runs."""
    ran = dry_runs[space]
    assert (ran["code"], ran["heavy"]) == (0, [])
    assert ran["seconds"] < 3
    for key in ("for", "rates", "memory", "time", "models"):
        assert any(line.startswith(f"{key} ") for line in ran["said"].splitlines()), key
    assert "8 x H100" in ran["said"]
    assert "times fewer" in ran["said"]


def test_dry_run_prints_parameters_and_compression(sweep_in_process: Sweep, root: Path, tmp_path: Path) -> None:
    code, output = sweep_in_process(
        "--space", root / "search_spaces/smoke.yaml", "--dry-run", "--storage", tmp_path / "runs"
    )
    assert code == 0
    assert "teacher 177,553 parameters, student 30,245: 5.87 times fewer" in output


def test_what_no_gpu_is_called_is_refused_and_table_named(sweep_in_process: Sweep, root: Path, tmp_path: Path) -> None:
    space = ("--space", root / "search_spaces/cifar10_quick.yaml", "--storage", tmp_path / "runs")
    for wrong in ("8xH99", "H100", "0xH100", "-1xH100", "8xGB", "8x0.0.1GB", "8 H100"):
        code, output = sweep_in_process(*space, "--dry-run", f"--for={wrong}")
        assert (code, len(output.splitlines())) == (2, 1), output
        assert f"--for {wrong}: must be a number of GPUs of gpus.yaml" in output
    code, output = sweep_in_process(*space, "--for", "8xH100")
    assert code == 2
    assert "--for: goes with --dry-run" in output
    code, output = sweep_in_process("--space", root / "search_spaces/ablation.yaml", "--dry-run", "--for", "8xH100")
    assert code == 2
    assert "asks for no GPU" in output


def test_unlisted_gpus_use_slowest_with_equal_memory() -> None:
    result = target("4x24GB")
    assert (result.count, result.device.memory, result.proxy_gpu) == (4, 24e9, "RTX3090")
    assert result.device.flops == target("1xRTX3090").device.flops
    assert target("1x12GB").proxy_gpu == "T4"
    assert target("1x300GB").proxy_gpu == "H200", "the largest there is"


def test_modified_table_is_validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "gpus.yaml"
    content = gpus.TABLE.read_text().replace('driver: "H100"', 'driver: "H100", price: 2')
    table.write_text(content)
    monkeypatch.setattr(gpus, "TABLE", table)
    read_table.cache_clear()
    try:
        plan = planned("cifar10_quick", "8xH100", tmp_path)
        output = dict(gpus_rows(plan))["money"]
        hours = (plan.teacher_seconds + plan.arm_seconds) / 3600
        assert output == f"{hours * 16:,.0f} = {hours:.1f} h x 8 x 2"
        for wrong, message in (("memory: 80", "memry: 80"), ("fp32: 67", "fp32: fast"), ("gpus:", "gpu:")):
            table.write_text(content.replace(wrong, message))
            read_table.cache_clear()
            with pytest.raises(UserError, match=r"gpus\.yaml"):
                read_table()
    finally:
        read_table.cache_clear()


def gpus_rows(plan: Plan) -> list[tuple[str, str]]:
    from branchwise.orchestration.planning.plan_text import describe_estimate

    assert plan.target
    return list(describe_estimate(plan, plan.target))


def test_cohorts_that_gpu_does_not_hold_are_planned_smaller(tmp_path: Path) -> None:
    """Fifteen students of the paper, their optimizers and averages take 1.8 GB; on a small GPU fewer train together."""
    space = load_space(ROOT / "search_spaces/imagenet64_ablation.yaml")
    large = planned("imagenet64_ablation", "8xH100", tmp_path)
    assert max(len(cohort.arms) for cohort in large.cohorts) == 9
    small = planned("imagenet64_ablation", "8x61GB", tmp_path)
    largest = max(len(cohort.arms) for cohort in small.cohorts)
    assert 1 <= largest < 9
    estimate = cohort_estimate(space, [arm.spec for arm in small.cohorts[0].arms], small.device).memory
    assert max(estimate.values()) <= 61e9


def test_arm_larger_than_gpu_is_refused(sweep_in_process: Sweep, root: Path, tmp_path: Path) -> None:
    space = ("--space", root / "search_spaces/imagenet64_ablation.yaml", "--storage", tmp_path / "runs")
    code, output = sweep_in_process(*space, "--dry-run", "--for", "8x16GB")
    assert code == 2
    assert "alone needs" in " ".join(output.split())
    code, output = sweep_in_process(*space, "--dry-run", "--for", "4xH100")
    assert code == 2
    assert "the machines have 4 GPUs" in " ".join(output.split())


def test_costly_teacher_suggests_more_workers(tmp_path: Path) -> None:
    """At batch 128 a step of the quick space's teacher is arithmetic, so eight GPUs are nearly eight times as fast."""
    plan = planned("cifar10_quick", "8xH100", tmp_path)
    sooner = plan.teacher_estimate(plan.teachers[0], 8).total / plan.teacher_seconds
    assert 1 / 8 <= sooner < 0.15
    message = f"the teacher would take {sooner:.0%} of its time with --set teacher.workers=8"
    assert dict(gpus_rows(plan))["notice"] == message
    eight = planned("cifar10_quick", "8xH100", tmp_path, "teacher.workers=8")
    assert "notice" not in dict(gpus_rows(eight))
    assert eight.teacher_seconds == pytest.approx(plan.teacher_estimate(plan.teachers[0], 8).total)


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"),
        ("NVIDIA GeForce GTX 1080", None),
    ],
)
def test_gpus_are_matched_by_driver_name(driver: str, name: str | None) -> None:
    assert name_in_table(driver) == name


def test_plan_states_measured_share_of_time(sweep_in_process: Sweep, root: Path, tmp_path: Path) -> None:
    file = root / "search_spaces/smoke.yaml"
    space = load_space(file)
    steps = work.arm_training(space.spec, 1)
    add_rates(processor(), [rate_of(steps, space.spec.data.image_shape, space.spec.data.classes, 1, 0.02)], {})
    for setting, share in (("student.channels=[8, 12]", r"[1-9]\d?%"), ("student.channels=[8, 16]", "0%")):
        code, output = sweep_in_process("--space", file, "--dry-run", "--storage", tmp_path / "runs", "--set", setting)
        assert code == 0, output
        assert re.search(rf"start-up, {share} of it by rates of these very nets; ", " ".join(output.split())), output


def test_measured_rates_are_stored_per_device() -> None:
    first = {"kind": "train", "net": "a", "rows": 64, "precision": "fp32", "mode": "exact", "threads": 1}
    assert read_rates("H100") == ()
    file = add_rates(
        "H100", [{**first, "seconds": 2.0, "working": 7}, {**first, "net": "b", "seconds": 3.0}], {"torch": "2"}
    )
    assert file == rates_file("H100")
    add_rates("H100", [{**first, "seconds": 1.5, "working": 8}], {"torch": "2"})
    assert sorted(rate["seconds"] for rate in read_rates("H100")) == [1.5, 3.0], "a new one replaces its like"
    assert target("8xH100").device.rates == read_rates("H100")
    assert target("8xA100").device.rates == ()
    for damage in ("", "{", "[]", '{"format": 0, "rates": []}'):
        file.write_text(damage)
        assert read_rates("H100") == ()
