"""Finished students remeasured: by the sweep's settings bit for bit, over a grid, by other features."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from patience import patience

from branchwise.analysis.records.folder import load_run
from branchwise.analysis.records.remeasured import load_remeasured
from branchwise.cli import main as branchwise
from branchwise.trainables.runtime.run_folder import Measurements, RunFolder
from branchwise.trainables.runtime.storage import Storage

ROOT = Path(__file__).resolve().parents[1]
SHORT = (
    "teacher.steps=12", "train.steps=6", "evaluate.sampler_steps=2", "evaluate.gap_samples=4", "design.blocks=2",
    "design.baselines=[single_head]", "design.components={uncond_branch: {off: {uncond_weight: 0}}}",
)  # fmt: skip

FUNCTIONS = """\
def flat(pixels):
    return pixels.float().flatten(1)[:, ::4]


def wrong(pixels):
    return pixels.float()


def many(pixels):
    return pixels.float().flatten(1).repeat(1, 9)
"""


def run(command: str, *arguments: object, cwd: Path = ROOT, timeout: float = 400) -> tuple[int, str]:
    argv = [sys.executable, "-m", "branchwise.cli", command, *map(str, arguments)]
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Results with one finished run, called smoke."""
    folder = tmp_path_factory.mktemp("measured")
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    settings = [text for item in SHORT for text in ("--set", item)]
    code, output = run("run", ROOT / "search_spaces/smoke.yaml", "--storage", folder, *settings)
    assert code == 0, output
    yield folder
    del os.environ["XDG_CACHE_HOME"]


def measured(storage: Path, *arguments: object) -> tuple[int, str]:
    return run("measure", "smoke", "--storage", storage, *arguments)


@pytest.mark.long(120)
def test_sweep_settings_reproduce_sweep_numbers(storage: Path) -> None:
    table = (storage / "smoke/arms.parquet").read_bytes()
    code, output = measured(storage)
    assert code == 0, output
    assert "As in the sweep: 6 of 6 students equal, bit for bit." in output
    (key,) = [name for name in os.listdir(storage / "smoke/measurements") if name != "work"]
    actual = pd.read_parquet(storage / f"smoke/measurements/{key}/arms.parquet").set_index("arm")
    reference = pd.read_parquet(storage / "smoke/arms.parquet").set_index("arm").loc[actual.index]
    for column in ("value", "kid", "rho", "gap_mse", "precision", "coverage", "student_params"):
        assert actual[column].equals(reference[column]), column
    assert (storage / "smoke/arms.parquet").read_bytes() == table

    started = time.monotonic()
    code, output = measured(storage)
    assert code == 0, output
    assert "to measure  0 of 7" in output
    assert "Ray" not in output
    assert time.monotonic() - started < patience(60)


@pytest.mark.long(200)
def test_grid_is_measured_interrupted_continued_and_reported(storage: Path) -> None:
    grid = ("--grid", "evaluate.guidance=1,2", "--grid", "evaluate.sampler_steps=2,3", "--arms", "full", "base")
    code, output = measured(storage, *grid, "--dry-run")
    assert code == 0, output
    assert "to measure  20 of 20" in output
    command = [sys.executable, "-m", "branchwise.cli", "measure", "smoke", "--storage", str(storage), *grid]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    folder = storage / "smoke/measurements"
    deadline = time.monotonic() + patience(300)
    while process.poll() is None and time.monotonic() < deadline:
        if len(list(folder.glob("*/arms/full-b0.json"))) >= 2:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=patience(200))
    assert process.returncode in (130, 0), output  # a quick machine may have finished
    before = {file: file.stat().st_mtime_ns for file in folder.glob("*/arms/*.json")}
    code, output = measured(storage, *grid)
    assert code == 0, output
    assert "20 of 20 measurements made" in output
    assert all(file.stat().st_mtime_ns == when for file, when in before.items())
    assert "Does it hold under another evaluation?" in output

    run = load_run(storage / "smoke")
    measures = [entry for entry in load_remeasured(run) if not entry.matches_sweep]
    assert {element.label() for element in measures} == {
        "guidance 1", "guidance 2", "sampler_steps 3, guidance 1", "sampler_steps 3, guidance 2",
    }  # fmt: skip
    for item in measures:
        assert sorted(item.run.arms["arm"]) == ["base-b0", "base-b1", "full-b0", "full-b1"]
        assert item.run.arms["teacher_value"].notna().all()
    page = (storage / "smoke/report/index.html").read_text()
    for text in ("Further evaluations", "Does it hold under another evaluation?", "The best setting of each cell"):
        assert text in page
    assert (storage / "smoke/report/measured_guidance.svg").is_file()
    assert (storage / "smoke/report/measured_sampler_steps.svg").is_file()
    message = json.loads((storage / "smoke/report/ablation.json").read_text())["measures"]
    assert len(message) == 5


@pytest.mark.long(200)
def test_features_of_classifier_and_of_function_of_users(
    storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_features.py").write_text(FUNCTIONS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    quick = ("--set", "evaluate.classifier.steps=60", "--set", "evaluate.classifier.least_accuracy=0.5")
    grid = ("--grid", "evaluate.features=classifier,own_features:flat", "--arms", "full-b0", "single_head-b0")
    code, output = measured(storage, *grid, *quick)
    assert code == 0, output
    (net,) = (storage / "features").iterdir()
    description = json.loads((net / "features.json").read_text())
    assert 0.5 <= description["accuracy"] <= 1
    assert description["tested_on"] >= 350
    metrics = {item.run.metric: item.run for item in load_remeasured(load_run(storage / "smoke"))}
    assert {"fd_classifier64", "fd_own_features_flat"} <= set(metrics)
    assert metrics["fd_classifier64"].arms["inception_score"].between(1, 10).all()
    code, output = measured(storage, *grid, "--set", "evaluate.classifier.least_accuracy=1.0", quick[0], quick[1])
    assert code == 2, output
    assert "right on" in output
    assert "below 1.0" in output


@pytest.mark.long(30)
@pytest.mark.parametrize(
    ("arguments", "expected_texts"),
    [
        (["nothing"], ["run nothing", "there are: smoke"]),
        (["--arms", "half"], ["--arms half", "base"]),
        (["--set", "data.name=mnist"], ["data.name", "only evaluate.*", "trained with"]),
        (["--set", "evaluate.feature=clip"], ["evaluate.feature"]),
        (["--set", "evaluate.features=clop"], ["evaluate.features", "dinov2", "clop"]),
        (["--set", "evaluate.features=vgg16", "--set", "evaluate.samples=1000"], ["1000 is too few", "40960"]),
        (["--set", "evaluate.samples=63"], ["63 is too few", "640"]),
        (["--set", "evaluate.features=no_such_module:f"], ["no module no_such_module"]),
        (["--set", "evaluate.features=own_features:gone"], ["own_features:gone", "own_features.py defines no gone"]),
        (["--set", "evaluate.features=own_features:wrong"], ["must return", "(2, 1, 8, 8)"]),
        (["--set", "evaluate.features=own_features:many"], ["640 is too few", "576 dimensions", "5760"]),
        (
            ["--set", "evaluate.features=inception", "--set", "evaluate.samples=10000"],
            ["inception", "branchwise fetch"],
        ),
        (["--grid", "evaluate.guidance=1,2", "--set", "evaluate.guidance=3"], ["evaluate.guidance", "twice"]),
        (["--grid", "evaluate.guidance"], ["KEY.KEY=VALUE"]),
    ],
)
def test_refused(
    storage: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected_texts: list[str],
) -> None:
    (tmp_path / "own_features.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    before = sorted(str(path) for path in storage.rglob("*"))
    given = arguments if "nothing" in arguments else ["smoke", *arguments]
    assert branchwise(["measure", *given, "--storage", str(storage)]) == 2
    output = capsys.readouterr().err.strip()
    assert len(output.splitlines()) == 1, output
    for text in expected_texts:
        assert text in output, output
    assert sorted(str(path) for path in storage.rglob("*")) == before


@pytest.mark.long(5)
def test_modified_student_is_refused(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = storage / "smoke/students/full-b1/config.json"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"8", b"9", 1))
    try:
        assert branchwise(["measure", "smoke", "--storage", str(storage), "--set", "evaluate.samples=700"]) == 2
    finally:
        file.write_bytes(content)
    output = capsys.readouterr().err
    assert "full-b1 cannot be measured" in output
    assert "config.json is damaged" in output


def test_remeasurement_unsupported_by_trainable(
    sweep: object, surface_space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from branchwise.orchestration.run_folder.plan_file import write_plan
    from branchwise.orchestration.space import load_space

    run = RunFolder(Storage(str(tmp_path)), "one")
    write_plan(run, load_space(surface_space), ())
    assert branchwise(["measure", "one", "--storage", str(tmp_path)]) == 2
    assert "trainable surface cannot measure a finished model again" in capsys.readouterr().err
    assert not Measurements(run).files.exists("")
