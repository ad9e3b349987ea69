"""A space is YAML 1.2 with the scalars of its core schema: no tags, directives, anchors, aliases."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.yaml_file import DEEPEST, MAX_VALUES, parse_yaml, read_tree, to_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("-010", -10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("9223372036854775807", 2**63 - 1),
        ("1.", 1.0),
        (".5", 0.5),
        ("3e-3", 0.003),
        ("-.INF", -math.inf),
        ("off", "off"),
        ("yes", "yes"),
        ("True", True),
        ("FALSE", False),
        ("Null", None),
        ("~", None),
        ("", None),
        ("2001-01-01", "2001-01-01"),
        ("<<", "<<"),
        ("=", "="),
        ("'010'", "010"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    result = parse_yaml(f"key: {text}")["key"]
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("text", "expected_texts"),
    [
        ("key: !!bool abc", "tags such as 'tag:yaml.org,2002:bool'"),
        ("key: !!timestamp abc", "tags"),
        ("key: !!set {x}", "tags"),
        ("key: !!str 3", "tags"),
        ("key: ! 3", "tags"),
        ("!!binary key: 3", "tags"),
        ("key: !own 3", "tags such as '!own'"),
        ("%TAG ! tag:yaml.org,2002:\n---\nkey: 3", "directives"),
        ("%YAML 1.1\n---\nkey: 010", "directives"),
        ("key: &anchor 3", "anchors"),
        ('"\\ud800": 3', "no character"),
        ('key: "\\udfff"', "no character"),
        ("key: " + "9" * 4000, "64 bits"),
        ("key: 0x" + "f" * 4000, "64 bits"),
        ("key: 9223372036854775808", "64 bits"),
        ("key: " + "[" * 40 + "]" * 40, "nested"),
    ],
)
def test_what_space_has_no_use_for_is_refused(text: str, expected_texts: str) -> None:
    with pytest.raises(ValueError, match=expected_texts) as refusal:
        parse_yaml(text)
    assert "line " in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_unbounded_list_is_refused() -> None:
    started = time.process_time()
    with pytest.raises(UserError, match=f"more than {MAX_VALUES} values"):
        read_tree("space.yaml", b"key: [" + b"1," * 450_000 + b"]")
    assert time.process_time() - started < 3


def test_overlong_key_of_set_is_refused() -> None:
    with pytest.raises(UserError, match="nested too deeply"):
        read_tree("space.yaml", b"name: x", ["a." * (DEEPEST + 1) + "a=1"])


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()


@given(st.dictionaries(st.text(), SCALARS | st.lists(SCALARS), max_size=5))
def test_what_is_written_is_read_as_same_by_either_version(tree: dict[str, Any]) -> None:
    text = to_yaml(tree)
    assert parse_yaml(text) == tree
    assert yaml.safe_load(text) == tree  # as the analysis reads it


@pytest.mark.parametrize("text", ["1e3", "0o17", "010", "1:30", "0b1", "yes", "off", "1_0", ".5e3", "-.inf", "~", "+1"])
def test_number_like_strings_stay_strings(text: str) -> None:
    assert parse_yaml(to_yaml({"key": text})) == {"key": text} == yaml.safe_load(to_yaml({"key": text}))
