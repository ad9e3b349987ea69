"""A space is read strictly; errors are reported in a message with file, key and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.yaml_file import parse_yaml
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

DATA = Path(__file__).resolve().parents[1] / "data"
SEARCH = (DATA / "surface_search.yaml").read_text()
TUNED = (DATA / "surface_tuned.yaml").read_text()
SPACES = sorted((Path(__file__).resolve().parents[2] / "search_spaces").glob("*.yaml"))


def test_good_space_is_read(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(DASH)
    space = load_space(file)
    assert space.name == "digits"
    assert space.spec.train.steps == 10
    assert [cell.cell for cell in space.design.cells(space.method)] == ["full", "base"]


def test_resolved_space_reads_as_same_space(tmp_path: Path) -> None:
    file, repeated = tmp_path / "space.yaml", tmp_path / "again.yaml"
    file.write_text(DASH)
    space = load_space(file, ["train.lr=3e-3", "evaluate.guidance={w_min: 1.0, w_max: 2.0}"])
    repeated.write_text(space.resolved())
    assert load_space(repeated) == space
    assert space.spec.train.lr == 3e-3


def test_yaml_has_no_surprises() -> None:
    assert parse_yaml("{off: no, a: 3e-3, b: 1.5, c: true, d: 7, e: ~}") == {
        "off": "no",
        "a": 0.003,
        "b": 1.5,
        "c": True,
        "d": 7,
        "e": None,
    }


@pytest.mark.parametrize("file", SPACES, ids=lambda file: file.stem)
def test_repository_spaces_resolve_to_themselves(file: Path, tmp_path: Path) -> None:
    repeated = tmp_path / "again.yaml"
    repeated.write_text(load_space(file).resolved())
    assert load_space(repeated) == load_space(file)


@pytest.mark.parametrize("text", [SEARCH, TUNED])
def test_resolved_search_reads_as_same(tmp_path: Path, text: str) -> None:
    file, repeated = tmp_path / "search.yaml", tmp_path / "again.yaml"
    file.write_text(text)
    space = load_space(file)
    repeated.write_text(space.resolved())
    assert load_space(repeated) == space


def test_published_numbers_are_stored_with_space(tmp_path: Path, surface_space: Path) -> None:
    (tmp_path / "published").mkdir()
    (tmp_path / "published/paper.yaml").write_text("source: 'a table'\nvalues: {full: 8.87, scratch: 20.47}\n")
    surface_space.write_text(surface_space.read_text() + "published: paper\n")
    space = load_space(surface_space)
    assert space.published is not None
    assert space.published.values == {"full": 8.87, "scratch": 20.47}
    repeated = tmp_path / "elsewhere.yaml"
    repeated.write_text(space.resolved())
    assert load_space(repeated).published == space.published
    with pytest.raises(UserError, match=r"published: 'nature' is not allowed: .* has paper"):
        load_space(surface_space, ["published=nature"])
