"""Files of trackers are read exactly, and not modified; unreadable content is refused or noted."""

from __future__ import annotations

import math
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorboardX
import wandb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_tables import columns, digest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary import Writer

from branchwise.analysis.importers.folder import run_from_table
from branchwise.analysis.importers.options import ImportOptions
from branchwise.analysis.importers.run_table import RunTable
from branchwise.analysis.importers.sources import read_runs
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.folder import load_run

IN_FOLDER = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def event_file(folder: Path) -> Path:
    return next(file for file in folder.iterdir() if "tfevents" in file.name)


def log_to_tensorboard(folder: Path, **hparams: Any) -> None:
    """A run as PyTorch's writer and its like leave it: hyperparameters in a separate folder below."""
    with tensorboardX.SummaryWriter(str(folder)) as writer:
        for step in range(4):
            writer.add_scalar("loss", 1 / (1 + step), step)
            writer.add_scalar("val/acc", math.nan if step == 1 else 0.1 * step + len(hparams), 10 * step)
        writer.add_histogram("weights", [1.0, 2.0], 3)
        writer.add_text("note", "a text")
        if hparams:
            writer.add_hparams(hparams, {"hparam/acc": 0.5}, name="hparams")


def of_tensorboard(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Each scalar of a folder as TensorBoard reads it."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "in/runs"
    for seed in (0, 1):
        log_to_tensorboard(path / f"r{seed}", seed=seed, ema=bool(seed), version="1.10", lr=1e-5)
    (path / "r1/validation").mkdir()
    with tensorboardX.SummaryWriter(str(path / "r1/validation")) as writer:
        writer.add_scalar("loss", 7.5, 2)
    before = digest(path)
    runs = read_runs(str(path))
    assert digest(path) == before
    result = columns(runs)
    assert result["run"] == ["r0", "r1"]
    assert result["state"] == ["success", "success"]
    assert result["config.ema"] == ["False", "True"]
    assert result["config.version"] == ["1.10", "1.10"]
    assert result["config.lr"] == ["1e-05", "1e-05"]
    assert result["validation/loss"] == ["", "7.5"]
    assert runs.kinds["config.seed"] == "setting"
    assert runs.kinds["loss"] == "metric"
    assert "weights" not in result
    assert runs.history
    for row, name in enumerate(result["run"]):
        for tag, points in of_tensorboard(path / name).items():
            history = runs.history.points(tag)
            same_rows = history.rows == row
            local = zip(history.steps[same_rows].tolist(), history.values[same_rows].tolist(), strict=True)
            assert repr([(int(step), value) for step, value in local]) == repr(points)
            assert repr(float(result[tag][row])) == repr(points[-1][1])


@IN_FOLDER
@given(points=st.dictionaries(st.integers(0, 2**40), st.floats(width=32), min_size=1, max_size=8))
def test_scalars_as_tensors_read_back(points: dict[int, float], tmp_path: Path) -> None:
    """TensorFlow's format keeps a scalar as a tensor."""
    folder = tmp_path / "run"
    shutil.rmtree(folder, ignore_errors=True)
    writer = Writer(str(folder))
    for step, value in points.items():
        writer.add_scalar("loss", value, step=step)
    writer.close()
    (folder / "hparams.yaml").write_text(
        "seed: 007\nema: null\nopt: {lr: 1e-3}\nbetas: !!python/tuple [0.9, 0.99]\nact: !!python/name:torch.relu ''\n"
    )
    runs = read_runs(str(folder))
    result = columns(runs)
    assert [result[f"config.{name}"] for name in ("seed", "ema", "opt.lr")] == [["007"], ["None"], ["1e-3"]]
    assert result["config.betas"] == ["[0.9, 0.99]"]
    assert result["config.act"] == ["torch.relu"]
    assert runs.history
    history = runs.history.points("loss")
    read = zip(history.steps.tolist(), history.values.tolist(), strict=True)
    assert repr([(int(step), value) for step, value in read]) == repr(sorted(points.items(), key=lambda one: one[0]))


def test_event_files_without_hyperparameters_are_refused(tmp_path: Path) -> None:
    log_to_tensorboard(tmp_path / "runs/lr=0.1,seed=3")
    with pytest.raises(RunFolderError, match=r"1 run and no hyperparameters.*not guessed.*add_hparams"):
        read_runs(str(tmp_path / "runs"))


CUTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "within the last record": (lambda data: data[:-7], "cut off and left out in 1 run"),
    "within the last length": (lambda data: data + b"\x20\x00", "cut off and left out in 1 run"),
    "within blank space": (lambda data: data + bytes(40), "cut off and left out in 1 run"),
    "a value": (lambda data: data[:-7] + bytes([data[-7] ^ 1]) + data[-6:], "damaged.* not known, in 1 run"),
    "a length": (lambda data: data[:40] + b"\xff" + data[41:], "damaged.* not known, in 1 run"),
}


@pytest.mark.parametrize("cut", CUTS)
def test_damaged_event_files_are_noted(cut: str, tmp_path: Path) -> None:
    folder = tmp_path / "runs/a"
    with tensorboardX.SummaryWriter(str(folder)) as writer:
        for step in range(4):
            writer.add_scalar("loss", step, step)
    (folder / "hparams.yaml").write_text("seed: 1\n")
    (tmp_path / "runs/b").mkdir()
    shutil.copytree(folder, tmp_path / "runs/b", dirs_exist_ok=True)
    damage, note = CUTS[cut]
    file = event_file(folder)
    (length,) = struct.unpack("<Q", file.read_bytes()[:8])
    assert length + 16 < 45, "the first record ends before the second's content"
    file.write_bytes(damage(file.read_bytes()))
    runs = read_runs(str(tmp_path / "runs"))
    result = columns(runs)
    assert any(re.search(note, item) for item in runs.notes)
    assert result["loss"][1] == "3.0"
    if "damaged" in note:
        assert result["state"] == ["interrupted", ""]
    else:
        assert result["loss"][0] == ("2.0" if cut == "within the last record" else "3.0")


def test_restart_voids_later_points(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for first, purge in ((0, None), (2, 2)):
        with tensorboardX.SummaryWriter(str(folder), purge_step=purge, filename_suffix=f".{first}") as writer:
            for step in range(first, first + (5 if purge is None else 1)):
                writer.add_scalar("loss", 10 * first + step, step)
    (folder / "hparams.yaml").write_text("seed: 1\n")
    runs = read_runs(str(folder))
    assert runs.history
    assert (
        runs.history.points("loss").steps.tolist()
        == [event[0] for event in of_tensorboard(folder)["loss"]]
        == [0, 1, 2]
    )
    assert columns(runs)["loss"] == ["22.0"]


NUMBERS = st.floats() | st.integers(-(2**62), 2**62)
VALUES = st.none() | st.booleans() | NUMBERS | st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")))
KEYS = st.text("abcé_", min_size=1, max_size=4).map(lambda key: f"k{key}")


def plain(value: Any) -> Any:
    """A setting as stored by W&B: NaN becomes null, and integral floats lose their point."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def flat(tree: dict[str, Any], prefix: str = "config.") -> dict[str, Any]:
    results: dict[str, Any] = {}
    for key, value in tree.items():
        results |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return results


def same(text: str, value: Any) -> bool:
    """Whether a cell states what was written."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (type(value) is int and text == str(value)) or repr(float(text)) == repr(float(value) + 0.0)
    return text == str(value)


def offline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb.teardown()  # another test of this process may have started with another folder, which would be reused
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(folder))


def read_wandb(path: Path) -> tuple[RunTable, dict[str, list[str]]]:
    before = digest(path)
    runs = read_runs(str(path))
    assert digest(path) == before
    return runs, columns(runs)


def test_wandb_folder_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(tmp_path / "in", monkeypatch)
    (tmp_path / "in").mkdir()
    written: list[tuple[str, dict[str, Any], list[float]]] = []

    @settings(max_examples=2, deadline=None, database=None, derandomize=True)
    @given(
        config=st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=3), min_size=12, max_size=12),
        history=st.lists(NUMBERS, min_size=3, max_size=9),
    )
    def write(config: dict[str, Any], history: list[float]) -> None:
        # Folders are read by their names: the second a run started, then its id.
        with wandb.init(project="p", id=f"a{len(written)}", config={**config, "loss": "a setting"}) as run:
            for value in history:
                run.log({"loss": value, "nested": {"acc": value, "note": "x"}})
        written.append((run.id, config, history))

    write()
    run = wandb.init(project="p", id="failing", config={"seed": 2**60 + 1})
    run.log({"loss": 1.0})
    run.summary["loss"] = 0.25
    run.finish(exit_code=3)
    wandb.teardown()  # its service may still be writing
    path = shutil.copytree(tmp_path / "in/wandb", tmp_path / "copy/wandb", symlinks=True)
    runs, result = read_wandb(path)
    assert runs.history
    assert result["id"] == [name for name, *_ in written] + ["failing"]
    assert result["state"] == ["finished"] * len(written) + ["failed"]
    assert result["config.seed"][-1] == str(2**60 + 1)
    assert result["loss"][-1] == "0.25", "the summary that the script sets"
    assert (runs.kinds["loss"], runs.kinds["config.loss"]) == ("metric", "setting")
    for row, (_, config, history) in enumerate(written):
        for name, value in flat(plain(config)).items():
            assert same(result[name][row], value), (name, value)
        for name in ("loss", "nested.acc"):
            points = runs.history.points(name)
            values = points.values[points.rows == row].tolist()
            assert [repr(value) for value in values] == [repr(float(value) + 0.0) for value in history]
            assert same(result[name][row], history[-1])
    file = next(path.glob("*/run-failing.wandb"))
    file.write_bytes(file.read_bytes()[:-9])
    runs, result = read_wandb(path.parent)
    assert result["state"][-1] == "running", "its exit is cut off"
    assert any("log is cut off" in note and "failing" in note for note in runs.notes)


LOSSES = {
    (ema, seed): [2 - 0.3 * ema + 0.05 * seed + 0.5 / (step + 1) for step in range(4)]
    for seed in range(3)
    for ema in (0, 1)
}
ON = {"true": 1, "false": 0, "": 0}


def written(root: Path, tracker: str) -> tuple[RunTable, dict[str, list[str]]]:
    """Files written by trackers' packages through `tests/data/elsewhere/write_*.py`."""
    path = root / "tests/data/elsewhere" / tracker
    before = digest(path / "x")
    runs = read_runs(str(path))
    assert digest(path / "x") == before
    return runs, columns(runs)


def check_history(runs: RunTable, name: str, cells: list[tuple[int, int]], steps: list[int]) -> None:
    """Each finished run of a cell has the losses that were logged."""
    assert runs.history
    points = runs.history.points(name)
    for row, cell in enumerate(cells):
        if cell in LOSSES:
            same_rows = points.rows == row
            assert points.steps[same_rows].tolist() == steps
            first, *others = points.values[same_rows].tolist()
            assert first in (LOSSES[cell][0], float(np.float32(LOSSES[cell][0])))
            assert others == LOSSES[cell][1:]


def cells_of(table: dict[str, list[str]], ema: str = "config.ema", seed: str = "config.seed") -> list[tuple[int, int]]:
    return [(ON[item.lower()], int(other) % 2**60) for item, other in zip(table[ema], table[seed], strict=True)]


def test_sacred_reads_back(root: Path) -> None:
    runs, result = written(root, "sacred")
    assert result["run"] == [str(number) for number in range(1, 9)]
    assert result["state"] == ["completed"] * 6 + ["failed", "timeout"]
    check_history(runs, "loss", cells_of(result), [0, 10, 20, 30])
    assert result["loss"][:6] == [repr(LOSSES[cell][-1]) for cell in cells_of(result)[:6]]
    assert result["result.final"][:6] == result["loss"][:6]
    assert set(result["result.top.one"]) == {"0.25", ""}
    assert set(result["count"]) == {str(2**60 + 3), str(2**60)}
    assert result["ratio"][0] == "inf"
    assert {name: result[f"config.{name}"][0] for name in ("opt.lr", "opt.betas", "warmup", "version")} == {
        "opt.lr": "0.5", "opt.betas": "[0.9, 0.99]", "warmup": "None", "version": "1.10",
    }  # fmt: skip
    assert (runs.kinds["config.opt.lr"], runs.kinds["result.final"]) == ("setting", "metric")


def test_trackio_reads_back(root: Path) -> None:
    runs, result = written(root, "trackio/ablation.db")
    assert result["config.seed"] == [str(2**60 + seed) for seed in (0, 0, 1, 1, 2, 2)]
    assert result["run"] == ["ema=False", "ema=True"] * 3
    assert result["loss"] == [*(repr(LOSSES[cell][-1]) for cell in cells_of(result)[:5]), "nan"]
    assert result["val.acc"] == [repr(LOSSES[cell][-1] / 9) for cell in cells_of(result)]
    assert set(result["count"]) == {str(2**60 + 3)}
    assert (result["ratio"][0], result["ü"][0], result["config.warmup"][0]) == ("inf", "1.5", "None")
    assert "note" not in result
    assert any("does not record how runs ended" in note for note in runs.notes)
    assert columns(read_runs(str(root / "tests/data/elsewhere/trackio"))) == result


def test_hydra_reads_back(root: Path) -> None:
    runs, match = written(root, "hydra")
    assert [match[f"config.{name}"][9] for name in ("opt.lr", "version", "tag", "trainer.layers", "trainer.out")] == [
        "0.1", "1.10", "None", "[3, 4]", "${version}",
    ]  # fmt: skip
    assert match["config.opt.choice"] == ["adam", "sgd"] * 8, "the choice of a group"
    assert match["config.trainer.ema"] == ["true"] * 8 + [""] * 8, "~trainer.ema removed it"
    cells = cells_of(match, "config.trainer.ema")
    check_history(runs, "loss", cells, [0, 10, 20, 30])
    assert match["val.acc"] == [repr(LOSSES[cell][-1] / 9) if cell in LOSSES else "" for cell in cells]
    assert any(note == "4 jobs left no file of results: 0/6, 0/7, 1/6 and 1/7." for note in runs.notes)


def test_lightning_reads_back(root: Path) -> None:
    runs, result = written(root, "lightning")
    assert result["run"] == [f"version_{number}" for number in range(8)]
    cells = cells_of(result)
    check_history(runs, "train_loss", cells, [0, 10, 20, 30])
    assert result["val/acc"] == [*(repr(LOSSES[cell][-1] / 9) for cell in cells[:5]), "nan", "", ""]
    assert {name: result[f"config.{name}"][0] for name in ("opt.lr", "betas", "tag", "w")} == {
        "opt.lr": "1.0e-05", "betas": "[0.9, 0.99]", "tag": "1.10", "w": "None",
    }  # fmt: skip


def test_neptune_reads_back(root: Path) -> None:
    runs, match = written(root, "neptune")
    assert match["run"] == [f"RUN-{number}" for number in range(6)]
    assert match["parameters/seed"] == [str(2**60 + seed) for seed in (0, 0, 1, 1, 2, 2)]
    cells = cells_of(match, "parameters/ema", "parameters/seed")
    assert match["train/loss"] == [*(repr(LOSSES[cell][-1]) for cell in cells[:4]), "nan", repr(LOSSES[cells[5]][-1])]
    assert match["test/acc"] == [repr(LOSSES[cell][-1] / 9) for cell in cells], (
        "a series in some runs, a value in others"
    )
    assert match["state"] == [""] * 5 + ["failed"]
    assert (match["parameters/opt/lr"][0], match["parameters/version"][0]) == ("1e-05", "1.10")
    check_history(runs, "train/loss", [cell if cell != (0, 2) else (-1, -1) for cell in cells], [0, 1, 2, 3])
    part = next((root / "tests/data/elsewhere/neptune").rglob("RUN-0*part_1.parquet"))
    assert columns(read_runs(str(part)))["train/loss"] == [repr(LOSSES[0, 0][-1])]


def test_dvc_reads_back(root: Path) -> None:
    runs, result = written(root, "dvc/runs.csv")
    assert result["State"] == [""] * 6 + ["Queued"]
    cells = cells_of(result, "ema", "seed")
    assert sorted(cells[:6]) == sorted(LOSSES)
    assert result["loss"][:6] == [repr(2 - 0.3 * ema + 0.05 * seed) for ema, seed in cells[:6]]
    assert (result["opt.lr"][0], result["layers"][0], result["warmup"][0]) == ("1e-05", "[1, 2]", "")
    assert runs.notes == ("2 rows left out: DVC's workspace and baseline commits.",)


@pytest.mark.parametrize(
    ("tracker", "value", "at", "block"),
    [("sacred", "loss", "10", "seed"), ("trackio", "loss", "best", "seed"), ("hydra", "loss", "last", "seed"),
     ("lightning", "train_loss", "20", "seed"), ("neptune", "train/loss", "1", "parameters/seed")],
)  # fmt: skip
def test_each_history_can_be_chosen_from(
    tracker: str, value: str, at: str, block: str, root: Path, tmp_path: Path
) -> None:
    component = {"hydra": "trainer.ema", "neptune": "parameters/ema"}.get(tracker, "ema")
    options = ImportOptions(components=[component], block=block, value=value, direction="minimize", at=at)
    source = root / "tests/data/elsewhere" / tracker
    if tracker == "hydra":  # of two choices of the optimizer, one
        options = replace(options, components=["trainer.ema", "opt.choice"], reference={"opt.choice": "adam"})
    arms = load_run(run_from_table(source, options, tmp_path / "made")).arms
    index = {"10": 1, "20": 2, "1": 1}.get(at, 3)
    (levels,) = (name for name in arms.columns if name.startswith("component.") and name.endswith("ema"))
    done = arms[arms["status"] == "done"]
    assert len(done) >= 5
    for ema, seed, match in zip(done[levels], done["seed"], done["value"], strict=True):
        assert match == LOSSES[int(ema), seed % 2**60][index]


def test_value_without_history_is_not_dropped(root: Path, tmp_path: Path) -> None:
    options = ImportOptions(
        components=["parameters/ema"], block="parameters/seed", value="test/acc", direction="minimize", at="0"
    )
    source = root / "tests/data/elsewhere/neptune"
    with pytest.raises(RunFolderError, match=r"no history in 2 runs: run 2 \(RUN-1\) and run 4 \(RUN-3\); leave out"):
        run_from_table(source, options, tmp_path / "made")


def test_two_tools_in_a_folder_are_refused(root: Path, tmp_path: Path) -> None:
    for tracker in ("sacred", "lightning"):
        shutil.copytree(root / "tests/data/elsewhere" / tracker, tmp_path / "runs" / tracker)
    with pytest.raises(RunFolderError, match=r"Sacred \(sacred/1\) and of Lightning CSVLogger \(lightning/version_0\)"):
        read_runs(str(tmp_path / "runs"))
    log_to_tensorboard(tmp_path / "runs/sacred/1/tb")
    runs = read_runs(str(tmp_path / "runs/sacred"))
    assert any("Read as Sacred; files of TensorBoard in it are left out" in note for note in runs.notes)


def test_folders_without_runs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunFolderError, match="empty: no runs of a known kind; runs are read from"):
        read_runs(str(tmp_path / "empty"))
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/latest").symlink_to(tmp_path / "empty")
    with pytest.raises(RunFolderError, match="links to folders, such as latest, are not followed"):
        read_runs(str(tmp_path / "linked"))


def test_damage_of_files_is_noted_or_refused(root: Path, tmp_path: Path) -> None:
    """A cut-off file costs its run, or its last line, and is named."""
    for tracker in ("sacred", "lightning", "hydra"):
        shutil.copytree(root / "tests/data/elsewhere" / tracker, tmp_path / tracker)
    for file in ("sacred/2/metrics.json", "lightning/version_1/metrics.csv", "hydra/0/1/metrics.jsonl"):
        (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:-5])
    runs = read_runs(str(tmp_path / "sacred"))
    assert columns(runs)["state"][1] == "interrupted"
    assert any("not known, in 1 run: 2" in note for note in runs.notes)
    runs = read_runs(str(tmp_path / "lightning"))
    assert columns(runs)["train_loss"][1] == repr(LOSSES[1, 0][3])
    assert columns(runs)["val/acc"][1] == repr(LOSSES[1, 0][1] / 9)
    assert any("cut off and left out in 1 run: version_1" in note for note in runs.notes)
    runs = read_runs(str(tmp_path / "hydra"))
    assert columns(runs)["loss"][1] == repr(LOSSES[1, 0][2])
    assert any("cut off and left out in 1 job: 0/1" in note for note in runs.notes)
    (tmp_path / "hydra/0/0/other.jsonl").write_text("{}\n")
    (tmp_path / "hydra/0/0/metrics.json").write_text("{}\n")
    with pytest.raises(RunFolderError, match=r"0/0: which of metrics.json and metrics.jsonl holds the results"):
        read_runs(str(tmp_path / "hydra"))
    (tmp_path / "sacred/3/run.json").write_text("{")
    assert columns(read_runs(str(tmp_path / "sacred")))["state"][:4] == ["completed", *["interrupted"] * 2, "completed"]
    neptune = shutil.copytree(root / "tests/data/elsewhere/neptune", tmp_path / "neptune")
    part = next(neptune.rglob("RUN-0*_part_0.parquet"))
    part.rename(part.with_name(f"{part.name}.tmp"))
    runs = read_runs(str(neptune))
    assert columns(runs)["run"] == [f"RUN-{number}" for number in range(1, 6)]
    assert any("1 run left out: the export was interrupted" in note for note in runs.notes)
    part = next(neptune.rglob("RUN-1*_part_1.parquet"))
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(RunFolderError, match=r"RUN-1.*_part_1.parquet is damaged"):
        read_runs(str(neptune))
    (tmp_path / "lightning/version_0/hparams.yaml").write_bytes(b"seed: \xff\n")
    with pytest.raises(RunFolderError, match=r"version_0/hparams.yaml is no YAML"):
        read_runs(str(tmp_path / "lightning"))
