"""The JSON Schemas of spaces: they are those of the code, each space names and fits its schema, and bad spaces fail."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from branchwise.orchestration.authoring.schema import schema_of
from branchwise.orchestration.input.yaml_file import parse_yaml
from branchwise.orchestration.space import load_space

ROOT = Path(__file__).resolve().parents[1]
SPACES = [*sorted((ROOT / "search_spaces").glob("*.yaml")), *sorted((ROOT / "examples").glob("*/space.yaml"))]
REGENERATE = "renew it: branchwise schema {0} > search_spaces/schemas/{0}.json"


def tree_of(file: Path) -> Any:
    return json.loads(json.dumps(parse_yaml(file.read_text())))


@pytest.mark.parametrize("trainable", ["dash", "command"])
def test_schemas_are_those_of_code(trainable: str) -> None:
    stored = json.loads((ROOT / f"search_spaces/schemas/{trainable}.json").read_text())
    assert stored == json.loads(json.dumps(schema_of(trainable))), REGENERATE.format(trainable)
    jsonschema.Draft202012Validator.check_schema(stored)


@pytest.mark.parametrize("file", SPACES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_spaces_name_and_follow_their_schema(file: Path) -> None:
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", file.read_text())
    tree = tree_of(file)
    if ":" in tree.get("trainable", ""):  # a user's function has no schema to name
        assert named is None
        schema = schema_of(tree["trainable"], load_space(file))
    else:
        assert named is not None
        schema = json.loads((file.parent / named[1]).read_text())
    jsonschema.validate(tree, schema)
    with pytest.raises(jsonschema.ValidationError, match="no_such_key"):
        jsonschema.validate({**tree, "no_such_key": 1}, schema)


@pytest.mark.parametrize(
    "wrong",
    [{"design": {"components": {}}}, {"design": {"components": {"A": {"off": {"x": 1}}}, "blocks": 0}}, {"name": 3}],
    ids=str,
)
def test_what_space_may_not_hold_fails(wrong: dict[str, Any]) -> None:
    tree = tree_of(ROOT / "search_spaces/ablation.yaml")
    schema = schema_of("dash")
    jsonschema.validate(tree, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**tree, **wrong}, schema)


def test_schema_lists_settings_of_space() -> None:
    file = ROOT / "examples/digits/space.yaml"
    schema, tree = schema_of("command", load_space(file)), tree_of(file)
    jsonschema.validate(tree, schema)
    tree["settings"]["hiden"] = 3
    with pytest.raises(jsonschema.ValidationError, match="hiden"):
        jsonschema.validate(tree, schema)
