"""A run folder is data until its user trusts it: no code that it names is imported or run without consent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from users import another_user

from branchwise.commands import run_sweep
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.planning.plan import plan_new
from branchwise.orchestration.run_folder.plan_file import read_plan, write_plan
from branchwise.orchestration.space import Space, load_space
from branchwise.run_files.sealing import sealed_json, sha256
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.storage import storage_at

FUNCTION = """\
name: received
trainable: evil.deep:train
function: {metric: loss, direction: minimize}
settings: {rate: 0.1}
design: {components: {momentum: {off: {beta: 0}}, rate: {off: {rate: 1.0}}}, blocks: 3}
"""
MODULE = """\
name: received
trainable: evil.deep
settings: {rate: 0.1}
design:
  components: {schedule: {levels: {flat: {kind: flat}, cosine: {kind: cosine}}, reference: flat}}
  baselines: [plain]
  blocks: 3
"""
COMMAND = """\
name: received
trainable: command
command: {run: [touch, "{mark}"], metric: {file: r.json, key: x}, direction: minimize, config: yaml}
settings: {mark: ran, rate: 1.0}
design: {components: {rate: {off: {rate: 0.0}}}, blocks: 2}
"""
FEATURES = """\
name: received
teacher: {channels: [16, 32], norm_groups: 8, steps: 10}
student: {channels: [8, 12], norm_groups: 4}
train: {steps: 10}
evaluate: {features: "evil.deep:train"}
design: {components: {anchor: {off: {anchor_weight: 0}}}}
"""
Sweep = Callable[..., tuple[int, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with code that leaves a mark when it is imported."""
    mark = f"open({str(tmp_path / 'imported')!r}, 'w')\n"
    package = tmp_path / "code/evil"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(mark)
    (package / "deep.py").write_text(f"{mark}def train(seed, rate=0.1, beta=0.9): return {{'loss': rate}}\n")
    for name in ("wandb", "mlflow", "yaml", "pandas"):  # files that libraries search
        (package.parent / f"{name}.py").write_text(mark)
    return package.parent


@pytest.fixture
def sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.setattr("sys.path", sys_path := list(__import__("sys").path))
    assert sys_path

    def run(*arguments: object) -> tuple[int, str]:
        code = run_sweep.main([*map(str, arguments), "--storage", str(tmp_path / "storage")])
        output = capsys.readouterr()
        return code, " ".join((output.out + output.err).split())

    return run


def received(text: str, folder: Path, storage: Path) -> RunFolder:
    """A run as another user sends it: sealed, but never started here."""
    plan = plan_new(_load(text, folder), storage_at(storage), "received")
    os.environ["XDG_STATE_HOME"] = str(storage.parent / "sender")
    try:
        write_plan(plan.run, plan.space, plan.cohorts)
    finally:
        os.environ["XDG_STATE_HOME"] = str(storage.parent / "state")
    return plan.run


def _load(text: str, folder: Path) -> Space:
    file = folder / "space.yaml"
    file.write_text(text)
    return load_space(file, imports=False)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.mark.parametrize("text", [FUNCTION, MODULE, COMMAND])
def test_received_run_is_not_resumed_unasked(text: str, folder: Path, tmp_path: Path, sweep: Sweep) -> None:
    run = received(text, folder, tmp_path / "storage")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    code, output = sweep("--resume", "received")
    assert code == 2
    assert "--trust" in output
    assert ("touch {mark}" if text == COMMAND else "evil.deep") in output
    assert str(folder) in output
    assert run.space_path() in output
    code, output = sweep("--resume", "received", "--dry-run")
    assert code == 0
    assert "It asks for --trust" in output
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before, "nothing ran, nothing was written"


@pytest.mark.parametrize("text", [FUNCTION, MODULE, FEATURES])
def test_dry_run_imports_no_user_code(text: str, folder: Path, tmp_path: Path, sweep: Sweep) -> None:
    (folder / "space.yaml").write_text(text)
    code, output = sweep("--space", folder / "space.yaml", "--dry-run")
    assert code == 0, output
    assert not (tmp_path / "imported").exists()
    if text != FEATURES:
        assert "not imported by a dry run" in output


def test_dry_run_checks_declared_settings(folder: Path, sweep: Sweep) -> None:
    for wrong, message in (
        (FUNCTION.replace("metric: loss, ", ""), "function.metric"),
        (FUNCTION.replace("blocks: 3", "blocks: x"), "design.blocks"),
        (FUNCTION.replace("rate: 1.0", "rate: 0.1"), "equals the current value"),
        (FUNCTION.replace("deep:train", "deep:trains"), "deep.py has no function 'trains'"),
        (MODULE.replace("evil.deep", "evil.deeper"), "there is no module 'evil.deeper' in"),
        (MODULE.replace("evil.deep", "evils.deep"), "there is no module 'evils' in"),
        (FEATURES.replace("deep:train", "deep:trains"), "deep.py defines no trains"),
    ):
        (folder / "space.yaml").write_text(wrong)
        code, output = sweep("--space", folder / "space.yaml", "--dry-run")
        assert code == 2
        assert message in output
    assert not (folder.parent / "imported").exists()


def test_what_this_user_started_is_resumed(surface_space: Path, tmp_path: Path) -> None:
    plan = plan_new(load_space(surface_space), storage_at(tmp_path / "storage"), "own")
    write_plan(plan.run, plan.space, plan.cohorts)
    assert read_plan("run", plan.run, trust=False, dry_run=False)[0] == plan.space


def test_modified_run_requires_new_trust(folder: Path, tmp_path: Path, sweep: Sweep) -> None:
    file = folder / "space.yaml"
    file.write_text(COMMAND)
    plan = plan_new(load_space(file), storage_at(tmp_path / "storage"), "received")
    write_plan(plan.run, plan.space, plan.cohorts)
    read_plan("run", plan.run, trust=False, dry_run=False)
    space = yaml.safe_load(plan.run.read_space())
    space["command"]["run"] = ["curl", "{mark}"]
    content = yaml.safe_dump(space).encode()
    sealed = {**plan.run.read_plan(), "space_sha256": sha256(content)}
    plan.run.write_space(content)
    Path(plan.run.plan_path()).write_bytes(sealed_json(sealed))
    code, output = sweep("--resume", "received")
    assert code == 2
    assert "curl {mark}" in output
    read_plan("run", plan.run, trust=True, dry_run=False)
    read_plan("run", plan.run, trust=False, dry_run=False)  # trusted once, it stays so


def test_trust_is_for_resumes(surface_space: Path, sweep: Sweep) -> None:
    code, output = sweep("--space", surface_space, "--trust")
    assert code == 2
    assert "--trust: does not go with --space; it goes with --resume, --extend" in output


def test_note_of_another_user_is_none(surface_space: Path, tmp_path: Path, state: Path) -> None:
    plan = plan_new(load_space(surface_space), storage_at(tmp_path / "storage"), "own")
    write_plan(plan.run, plan.space, plan.cohorts)
    (note,) = (state / "branchwise/started").iterdir()
    assert json.loads(note.read_text())["run"] == plan.run.root
    assert (state / "branchwise/started").stat().st_mode & 0o077 == 0
    if os.geteuid() == 0:
        os.chown(note, 65534, 65534)
        from branchwise.orchestration.run_folder.trust import is_trusted

        assert not is_trusted(plan.run.read_originals())


@pytest.mark.parametrize("text", [FUNCTION, COMMAND])
def test_code_that_this_user_cannot_read_is_named(text: str, folder: Path, tmp_path: Path) -> None:
    run = received(text, folder, tmp_path / "storage")
    read_plan("run", run, trust=True, dry_run=True)  # imports what the next call needs
    with another_user(folder), pytest.raises(UserError) as refusal:
        read_plan("run", run, trust=True, dry_run=True)
    assert str(refusal.value) == (
        f"run received: {folder}, where its code lies, cannot be read: Permission denied; ask its owner for access, or "
        "start a run of your own from a copy"
    )


def test_run_needs_no_folder_that_it_does_not_read(surface_space: Path, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    plan = plan_new(load_space(surface_space.rename(private / "space.yaml")), storage_at(tmp_path / "storage"), "own")
    write_plan(plan.run, plan.space, plan.cohorts)
    expected = read_plan("run", plan.run, trust=True, dry_run=False)[0]
    with another_user(private):
        assert read_plan("run", plan.run, trust=True, dry_run=False)[0] == expected
