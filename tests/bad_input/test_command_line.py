"""Any error in a space or an argument: exit code 2, a line that states it, no run started, no file written."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from branchwise.commands import run_sweep
from branchwise.trainables.runtime.storage import storage_at

SPACE = """\
name: digits
trainable: dash
teacher: {channels: [16, 32], norm_groups: 8, steps: 10}
student: {channels: [8, 12], norm_groups: 4}
train: {steps: 10}
design:
  components:
    anchor: {off: {anchor_weight: 0}}
"""
LEVELS = "{" + ", ".join(f"l{i}: {{KEY: {i + 1}}}" for i in range(12)) + "}"
KEYS = ("anchor_weight", "uncond_weight", "imitation_weight")
VERY_LONG = "a" * 100_000
BOMB = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}]\n" for old, new in itertools.pairwise("abcdefgh")
)

SPACES = {  # case: (content, parts of the message)
    "empty": (b"", ["mapping"]),
    "blank": (b" \n\n# nothing\n", ["mapping"]),
    "a list": (b"- name: digits\n", ["mapping"]),
    "a word": (b"digits", ["mapping"]),
    "a number": (b"7", ["mapping"]),
    "two documents": (SPACE.encode() + b"---\n" + SPACE.encode(), ["YAML", "document"]),
    "latin-1": ("name: ablación".encode("latin-1"), ["UTF-8", "byte"]),
    "utf-16": (SPACE.encode("utf-16"), ["UTF-8"]),
    "binary": (bytes(range(256)), ["UTF-8"]),
    "a NUL": (SPACE.encode() + b"\0", ["YAML"]),
    "a tab": (b"name:\tdigits\n\ttrain: 1", ["YAML", "line"]),
    "larger than 1 MiB": (b"#" * (1 << 21), ["MiB"]),
    "nested deeply": (b"a: " + b"[" * 9000, ["nested"]),
    "nested deeply in braces": (b"{a: " * 5000, ["nested"]),
    "a bomb of aliases": (BOMB.encode(), ["aliases"]),
    "a merge key": (b"x: &x {a: 1}\ny: {<<: *x}", ["aliases"]),
    "a cycle": (b"a: &a [*a]", ["aliases"]),
    "a Python object": (b"name: !!python/object/apply:os.system ['touch owned']", ["YAML", "python"]),
    "a Python name": (b"name: !!python/name:os.system", ["YAML", "python"]),
    "a number of 10,000 digits": (b"name: x\nblocks: " + b"9" * 10_000, ["YAML"]),
    "duplicate keys": (SPACE.encode() + b"name: again", ["duplicate key 'name'"]),
    "a key that is no text": (SPACE.encode() + b"1: x", ["key 1", "not text"]),
    "a list as key": (SPACE.encode() + b"? [a]\n: x", ["not text"]),
}

OVERRIDES = {  # case: (--set, parts of the message)
    "an unknown key": ("trian.steps=3", ["trian", "did you mean train?"]),
    "an unknown key below": ("train.stesp=3", ["train.stesp", "did you mean steps?"]),
    "an unknown key of the design": ("design.block=3", ["design.block", "did you mean blocks?"]),
    "an unknown trainable": ("trainable=dahs", ["'dahs'", "dash"]),
    "a trainable that is no module's name": ("trainable=../x", ["trainable"]),
    "a relative trainable": ("trainable=.x", ["trainable"]),
    "a trainable that is none": ("trainable=json", ["trainable", "Spec"]),
    "an empty trainable": ("trainable=''", ["trainable"]),
    "a trainable that is a number": ("trainable=7", ["trainable"]),
    "text for a number": ("train.steps=ten", ["train.steps", "'ten'"]),
    "a number for a section": ("train=3", ["train"]),
    "nothing for a section": ("train=", ["train"]),
    "a list for a section": ("train=[1]", ["train"]),
    "zero": ("train.steps=0", ["train.steps", "greater than 0"]),
    "negative": ("train.lr=-1e-3", ["train.lr", "greater than 0"]),
    "NaN": ("train.lr=.nan", ["train.lr", "finite"]),
    "infinite": ("train.lr=.inf", ["train.lr", "finite"]),
    "too large a float": ("train.lr=1e999", ["train.lr", "finite"]),
    "a fraction out of range": ("train.ema=1.0", ["train.ema", "less than 1"]),
    "a fraction of steps": ("train.steps=1.5", ["train.steps"]),
    "a truth value for a number": ("train.steps=true", ["train.steps"]),
    "an unknown choice": ("method.curriculum=transfr", ["method.curriculum", "transfer"]),
    "widths that erase the embeddings": ("student.norm_groups=8", ["student", "GroupNorm"]),
    "too few samples": ("evaluate.samples=10", ["evaluate.samples", "640"]),
    "a name with a path": ("name=../up", ["name", "'../up'"]),
    "an absolute name": ("name=/tmp/x", ["name"]),
    "a hidden name": ("name=.hidden", ["name"]),
    "a name with spaces": ("name=a b", ["name"]),
    "an endless name": ("name=" + "a" * 65, ["name"]),
    "an unknown kind": ("design.kind=factoral", ["design.kind", "factorial"]),
    "no components": ("design.components={}", ["design.components"]),
    "a component that changes nothing": (
        "design.components.anchor.off.anchor_weight=0.1",
        ["equals the current value"],
    ),
    "a component of an unknown setting": ("design.components.anchor.off={ancor: 0}", ["ancor", "anchor_weight"]),
    "a component's name in capitals": ("design.components={Anchor: {off: {anchor_weight: 0}}}", ["design.components"]),
    "seven components": (
        "design.components={" + ", ".join(f"c{i}: {{off: {{anchor_weight: {i + 1}}}}}" for i in range(7)) + "}",
        ["design.components", "6"],
    ),
    "an unknown baseline": ("design.baselines=[scrach]", ["scrach", "scratch"]),
    "a claim on nothing": ("design.claims=[ancor.share > 0.5]", ["claims[0]"]),
    "a claim that is none": ("design.claims=['__import__(\"os\")']", ["claims[0]"]),
    "a claim on NaN": ("design.claims=[anchor.share > nan]", ["claims[0]"]),
    "a thousand million blocks": ("design.blocks=1000000000", ["makes", "100000 are allowed", "blocks"]),
    "more CPUs than there are": ("resources.cpus_per_trial=4096", ["resources.cpus_per_trial", "4096"]),
    "a data set without a name": ("data={name: [x]}", ["data.name", "digits"]),
    "an endless net": ("student.res_blocks=1000000", ["student.res_blocks", "64"]),
    "endless combinations": (
        "design.components={"
        + ", ".join(f"c{i}: {{reference: l0, levels: {LEVELS.replace('KEY', key)}}}" for i, key in enumerate(KEYS))
        + "}",
        ["design.components", "1728 combinations", "1024"],
    ),
    "an endless search": (
        "design={kind: search, arms: 1000000, knobs: {anchor_weight: {uniform: [0, 1]}}}",
        ["1000006 arms", "100000"],
    ),
    "an endless list of claims": (
        f"design.claims=[{', '.join(['anchor.shapley > 0'] * 101)}]",
        ["design.claims", "100"],
    ),
    "more workers than CPUs": ("resources.workers=99", ["resources.workers: 99", "room for"]),
    "negative workers": ("resources.workers=-1", ["resources.workers"]),
    "a missing teacher": ("teacher={checkpoint: nowhere}", ["teacher.checkpoint", "nowhere"]),
    "no key": ("=3", ["--set"]),
    "no value": ("train.steps", ["--set", "KEY"]),
    "an empty section": ("train..steps=3", ["--set"]),
    "a tag": ("train.steps=!!int 3", ["--set train.steps", "tags"]),
    "a number with too many digits": ("train.steps=" + "9" * 4000, ["train.steps", "64 bits"]),
    "a broken value": ("train.steps=[", ["--set", "YAML"]),
    "an alias": ("train.steps=*a", ["--set", "aliases"]),
    "a section that is a value": ("name.first=3", ["--set", "name"]),
}

ARGUMENTS = {  # case: (arguments; {space} is a good space, parts of the message)
    "nothing": ([], ["--space", "--resume", "required"]),
    "a space that is not there": (["--space", "nowhere.yaml"], ["nowhere.yaml", "No such file"]),
    "a folder": (["--space", "."], ["cannot be read", "directory"]),
    "a space that is endless": (["--space", "/dev/zero"], ["/dev/zero", "MiB"]),
    "an endless path": (["--space", "x" * 5000], ["cannot be read"]),
    "an unknown option": (["--space", "{space}", "--nmae", "x"], ["--nmae"]),
    "an option cut short": (["--space", "{space}", "--dry"], ["--dry"]),
    "an option without its value": (["--space"], ["--space", "argument"]),
    "a stray word": (["--space", "{space}", "now"], ["now"]),
    "both": (["--space", "{space}", "--resume", "x"], ["--resume", "--space"]),
    "settings for a run that has them": (["--resume", "x", "--set", "train.steps=1"], ["--set"]),
    "a run that is not there": (["--resume", "nothing"], ["nothing", "no such run"]),
    "a run outside": (["--resume", "../runs"], ["run ../runs"]),
    "no run": (["--resume", ""], ["run : a name"]),
    "a name outside": (["--space", "{space}", "--name", "../outside"], ["--name ../outside"]),
    "a name with a line feed": (["--space", "{space}", "--name", "a\nb"], ["--name a b"]),
    "the teachers' folder": (["--space", "{space}", "--name", "teachers"], ["--name teachers"]),
    "the teachers' folder to resume": (["--resume", "teachers"], ["run teachers"]),
    "no storage": (["--space", "{space}", "--storage", ""], ["--storage", "empty"]),
    "a storage of no known kind": (["--space", "{space}", "--storage", "ftp://host/x"], ["--storage ftp://host/x"]),
    "a storage with a secret": (["--space", "{space}", "--storage", "s3://key:secret@bucket/x"], ["--storage: "]),
    "a storage with options": (["--space", "{space}", "--storage", "s3://bucket/x?region=y"], ["environment"]),
    "a secret as option": (["--space", "{space}", "--storage", "s3://bucket/x?secret_key=secret"], ["--storage: "]),
    "a secret as fragment": (["--space", "{space}", "--storage", "s3://bucket/x#secret"], ["--storage: "]),
    "a secret with a slash": (["--space", "{space}", "--storage", "s3://key:se/secret@bucket"], ["--storage: "]),
    "a secret without a bucket": (["--space", "{space}", "--storage", "s3://key:secret"], ["--storage"]),
    "a secret with one slash": (["--space", "{space}", "--storage", "s3:/key:secret@bucket"], ["two slashes"]),
    "a secret without a slash": (["--space", "{space}", "--storage", "s3:key:secret@bucket"], ["two slashes"]),
    "a secret of an unknown kind": (
        ["--space", "{space}", "--storage", "x://key:secret@bucket/?secret"],
        ["--storage: "],
    ),
    "a secret after a mistyped option": (["--space", "{space}", "--storag", "s3://key:secret@bucket"], ["s3://..."]),
    "an address with a secret": (["--space", "{space}", "--address", "ray://me:secret@head:10001"], ["--address: "]),
    "an address with an option": (["--space", "{space}", "--address", "head:6379?token=secret"], ["--address: "]),
    "an address with a fragment": (["--space", "{space}", "--address", "http://head:8265#secret"], ["--address: "]),
    "an address of another kind": (["--space", "{space}", "--address", "http://head:8265"], ["ray://HOST:PORT"]),
    "no address": (["--space", "{space}", "--address", ""], ["--address", "auto"]),
    "a storage without a bucket": (["--space", "{space}", "--storage", "s3://"], ["--storage s3://: ", "bucket"]),
    "a storage that only tests have": (["--space", "{space}", "--storage", "mock:///x"], ["mock:///x", "s3, gs"]),
    "a storage that is no text": (["--space", "{space}", "--storage", "/tmp/\udcff"], ["/tmp/\\udcff: ", "UTF-8"]),
    "a space that is no text": (["--space", "nowhere-\udcff.yaml"], ["nowhere-\\udcff.yaml"]),
    "a storage with a NUL": (["--space", "{space}", "--storage", "/tmp/a\0b"], ["NUL"]),
    "a storage that takes a library": (["--space", "{space}", "--storage", "hdfs://host/x"], ["hdfs://host/x: "]),
    "an escape": (["--space", "{space}", "--set", "\x1b[31mtrian=3"], ["\\x1b[31mtrian: unknown key"]),
    "an escape in an option": (["--space", "{space}", "--\x1b]0;title\x07"], ["\\x1b]0;title\\x07"]),
    "an endless claim": (
        ["--space", "{space}", "--set", f"design.claims=[{VERY_LONG}]"],
        ["design.claims.0", "500", "aaa"],
    ),
    "an endless key": (["--space", "{space}", "--set", VERY_LONG + "=1"], ["aaa", "unknown key"]),
    "an endless value": (["--space", "{space}", "--set", "train.steps=" + VERY_LONG], ["train.steps", "integer"]),
    "an endless name": (["--space", "{space}", "--name", VERY_LONG], ["--name", "64 at most"]),
}

Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs the command line and returns its one-line refusal."""

    def fail_if_called(*_: object) -> None:
        pytest.fail("a sweep was started")

    def run(*arguments: str, storage: Path = tmp_path / "storage") -> str:
        folder = tmp_path / "here"
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        monkeypatch.setattr(run_sweep, "run_sweep", fail_if_called)
        before = sorted(tmp_path.rglob("*"))
        given = ["--storage", str(storage), *arguments]
        assert run_sweep.main(given) == 2
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("run_sweep: ")
        assert len(output.err.splitlines()) == 1
        assert len(output.err) < 1000
        assert output.err[:-1].isprintable()
        assert sorted(tmp_path.rglob("*")) == before
        return output.err

    return run


@pytest.fixture
def space(tmp_path: Path) -> Path:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE)
    return file


@pytest.mark.parametrize(("content", "expected_texts"), SPACES.values(), ids=SPACES)
def test_bad_space_file(refused: Refused, tmp_path: Path, content: bytes, expected_texts: list[str]) -> None:
    file = tmp_path / "space.yaml"
    file.write_bytes(content)
    output = refused("--space", str(file))
    assert all(expected_text in output for expected_text in (*expected_texts, str(file)))


@pytest.mark.parametrize(("override", "expected_texts"), OVERRIDES.values(), ids=OVERRIDES)
def test_bad_setting(refused: Refused, space: Path, override: str, expected_texts: list[str]) -> None:
    output = refused("--space", str(space), "--set", override)
    assert all(expected_text in output for expected_text in expected_texts)


@pytest.mark.parametrize(("arguments", "expected_texts"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_bad_arguments(refused: Refused, space: Path, arguments: list[str], expected_texts: list[str]) -> None:
    output = refused(*(argument.replace("{space}", str(space)) for argument in arguments))
    assert all(expected_text in output for expected_text in expected_texts)
    assert "secret" not in output


def test_storage_that_is_file(refused: Refused, space: Path) -> None:
    assert str(space) in refused("--resume", "x", storage=space)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"no JSON", b'{"format": 1}'])
def test_damaged_plan(refused: Refused, tmp_path: Path, content: bytes) -> None:
    storage_at(tmp_path / "storage/run").write("plan.json", content)
    assert "plan.json is damaged" in refused("--resume", "run")


@pytest.mark.parametrize("number", [1, 3])
def test_run_of_another_version(refused: Refused, tmp_path: Path, number: int) -> None:
    storage_at(tmp_path / "storage/run").write("space.yaml", b"")
    storage_at(tmp_path / "storage/run").write_json("plan.json", {"format": number, "anything": "else"})
    assert f"plan.json: format: must be 2, not {number}: another version" in refused("--resume", "run")


def test_run_with_modified_space(refused: Refused, tmp_path: Path) -> None:
    run = storage_at(tmp_path / "storage/run")
    run.write("space.yaml", SPACE.replace("steps: 10", "steps: 11").encode())
    sha256 = hashlib.sha256(SPACE.encode()).hexdigest()
    empty: dict[str, Any] = {key: [] for key in ("components", "factors", "blocks", "cells", "columns", "lines")}
    parts = [{"kinds": ["cell"], "name": "", "question": ""}]
    run.write_json("plan.json", {**empty, "space_sha256": sha256, "outcomes": ["value"], "parts": parts})
    assert "space.yaml: changed since this run started" in refused("--resume", "run")


def test_teacher_folder_without_weights(refused: Refused, space: Path, tmp_path: Path) -> None:
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher/config.json").write_text("{}")
    output = refused("--space", str(space), "--set", f"teacher={{checkpoint: {tmp_path / 'teacher'}}}")
    assert "teacher.checkpoint" in output


def test_teacher_folder_with_other_weights(refused: Refused, space: Path, tmp_path: Path) -> None:
    folder = tmp_path / "teacher"
    folder.mkdir()
    for name in ("config.json", "curriculum.safetensors"):
        (folder / name).write_text("{}")
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"other weights")
    (folder / "teacher.json").write_text(json.dumps({"weights_sha256": "0" * 64}))
    assert "teacher.checkpoint" in refused("--space", str(space), "--set", f"teacher={{checkpoint: {folder}}}")
