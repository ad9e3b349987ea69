"""Any error in a space is reported in a message with file, key and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.space import load_space

DASH = """\
name: digits
teacher: {channels: [16, 32], norm_groups: 8, steps: 10}
student: {channels: [8, 12], norm_groups: 4}
train: {steps: 10}
design:
  components:
    anchor: {off: {anchor_weight: 0}}
"""

REFUSED = [
    # (what is replaced, by what, parts of the message)
    ("name: digits", "name: ../up", ["name", "'../up'"]),
    ("name: digits", "nmae: digits", ["nmae", "did you mean name?"]),
    ("name: digits", "", ["name", "missing"]),
    ("name: digits", "name: 3", ["name", "string"]),
    ("name: digits", "name: digits\ntrainable: dsah", ["trainable", "'dsah'", "dash"]),
    ("name: digits", "name: digits\ntrainable: os", ["trainable", "'os'"]),
    ("name: digits", "name: digits\nname: twice", ["duplicate key 'name'", "line 2"]),
    ("name: digits", "name: &a digits", []),
    ("name: digits", "name: digits\nmethod: *a", ["aliases"]),
    ("name: digits", "name: digits\n3: x", ["key 3", "not text"]),
    ("name: digits", "name: digits\n  bad: indent", ["YAML"]),
    ("name: digits", "name: !!python/object/apply:os.system [ls]", ["YAML"]),
    ("train: {steps: 10}", "train: {stesp: 10}", ["train.stesp", "did you mean steps?"]),
    ("train: {steps: 10}", "train: {steps: '10'}", ["train.steps", "integer", "'10'"]),
    ("train: {steps: 10}", "train: {steps: 10.5}", ["train.steps", "10.5"]),
    ("train: {steps: 10}", "train: {steps: 0}", ["train.steps", "greater than 0"]),
    ("train: {steps: 10}", "train: {steps: true}", ["train.steps", "True"]),
    ("train: {steps: 10}", "train: {steps: 10, lr: .nan}", ["train.lr", "finite"]),
    ("train: {steps: 10}", "train: {steps: 10, lr: .inf}", ["train.lr", "finite"]),
    ("train: {steps: 10}", "train: {steps: 10, lr: -1}", ["train.lr", "greater than 0"]),
    ("train: {steps: 10}", "train: {steps: 10, ema: 1.0}", ["train.ema", "less than 1"]),
    ("train: {steps: 10}", "train: 7", ["train", "7"]),
    ("train: {steps: 10}", "train:", ["train"]),
    ("[8, 12]", "[8, -12]", ["student.channels"]),
    ("[8, 12]", "[]", ["student.channels"]),
    ("[8, 12]", "8", ["student.channels"]),
    ("norm_groups: 4", "norm_groups: 8", ["student", "GroupNorm"]),
    ("norm_groups: 8, steps", "norm_groups: 32, steps", ["teacher", "GroupNorm"]),
    ("norm_groups: 8, steps", "norm_groups: 8, stps", ["teacher.stps", "did you mean steps?"]),
    (
        "anchor: {off: {anchor_weight: 0}}",
        "anchor: {off: {anchor_weight: 0.1}}",
        ["anchor.off", "equals the current value"],
    ),
    ("anchor: {off: {anchor_weight: 0}}", "anchor: {off: {anchor_wieght: 0}}", ["anchor_wieght", "anchor_weight"]),
    ("anchor: {off: {anchor_weight: 0}}", "anchor: {off: {train.anchor: 0}}", ["train.anchor"]),
    ("anchor: {off: {anchor_weight: 0}}", "anchor: {off: {anchor_weight: -1}}", ["anchor_weight", "-1"]),
    ("anchor: {off: {anchor_weight: 0}}", "anchor: {off: {}}", ["anchor.off"]),
    ("anchor: {off: {anchor_weight: 0}}", "anchor: {on: {anchor_weight: 0}}", ["design.components.anchor"]),
    ("anchor: {off: {anchor_weight: 0}}", "Anchor: {off: {anchor_weight: 0}}", ["design.components"]),
    ("anchor: {off: {anchor_weight: 0}}", "anchor: {off: {anchor_weight: 0}}\n  blocks: 0", ["design.blocks"]),
    ("anchor: {off: {anchor_weight: 0}}", "anchor: {off: {anchor_weight: 0}}\n  kind: fractorial", ["design.kind"]),
    (
        "anchor: {off: {anchor_weight: 0}}",
        "anchor: {off: {anchor_weight: 0}}\n  baselines: [skratch]",
        ["skratch", "scratch"],
    ),
    (
        "anchor: {off: {anchor_weight: 0}}",
        "anchor: {off: {anchor_weight: 0}}\n  baselines: [scratch, scratch]",
        ["once"],
    ),
    (
        "anchor: {off: {anchor_weight: 0}}",
        "anchor: {off: {anchor_weight: 0}}\n  claims: [anchr.share > 1]",
        ["claims[0]"],
    ),
    (
        "anchor: {off: {anchor_weight: 0}}",
        "anchor: {off: {anchor_weight: 0}}\nresources: {workers: -1}",
        ["resources.workers"],
    ),
    (
        "anchor: {off: {anchor_weight: 0}}",
        "anchor: {off: {anchor_weight: 0}}\nresources: {max_concurrent: many}",
        ["resources.max_concurrent", "many"],
    ),
]


@pytest.mark.parametrize(("old", "new", "expected_texts"), [case for case in REFUSED if case[2]])
def test_bad_space_is_refused_with_message(tmp_path: Path, old: str, new: str, expected_texts: list[str]) -> None:
    file = tmp_path / "space.yaml"
    assert old in DASH
    file.write_text(DASH.replace(old, new))
    with pytest.raises(UserError) as refusal:
        load_space(file)
    message = str(refusal.value)
    assert message.startswith(str(file))
    assert "\n" not in message
    for expected_text in expected_texts:
        assert expected_text in message


@pytest.mark.parametrize(
    ("content", "expected_texts"),
    [
        (b"", ["mapping"]),
        (b"- a\n- b\n", ["mapping"]),
        (b"name: \xff\xfe", ["UTF-8"]),
        (b"a: " + b"[" * 5000, ["nested"]),
        (b"x" * (1 << 21), ["MiB"]),
    ],
)
def test_what_is_no_space_file_is_refused(tmp_path: Path, content: bytes, expected_texts: list[str]) -> None:
    file = tmp_path / "space.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError) as refusal:
        load_space(file)
    assert all(expected_text in str(refusal.value) for expected_text in expected_texts)


def test_missing_file_or_folder_is_refused(tmp_path: Path) -> None:
    for file in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            load_space(file)


@pytest.mark.parametrize(
    "override", ["train.steps", "=3", "train..steps=3", "name.x=3", "train.steps=[", "train.stesp=3"]
)
def test_bad_override_is_refused(tmp_path: Path, override: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(DASH)
    with pytest.raises(UserError):
        load_space(file, [override])


def test_error_in_cell_names_only_failing_key(tmp_path: Path) -> None:
    """Not the entire tree of settings, of which pydantic makes a page."""
    file = tmp_path / "space.yaml"
    file.write_text(DASH.replace("anchor_weight: 0", "objective: scratch"))
    with pytest.raises(UserError) as refusal:
        load_space(file)
    assert "the cell base: method: objective scratch has no teacher" in str(refusal.value)
    assert len(str(refusal.value)) < 250 + len(str(file))


@settings(max_examples=300)
@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_text_is_space_or_clear_refusal(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "space.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
    with pytest.raises(UserError):
        load_space(file)
