"""The JSON Schema of a space, with which editors complete keys and mark what is wrong."""

from __future__ import annotations

from typing import Any

from branchwise.orchestration.space import SharedKeys, Space
from branchwise.trainables import DEFAULT, load_trainable

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ANY_SETTINGS = ("command",)  # trainables with settings that each space names


def schema_of(trainable: str, space: Space | None = None) -> dict[str, Any]:
    """Return the JSON Schema of spaces of a trainable, or of this one space with its settings."""
    model = space.module.Spec if space is not None else load_trainable(trainable).Spec
    outline = SharedKeys.model_json_schema()
    definition = model.model_json_schema()
    properties = outline["properties"] | definition["properties"]
    properties["trainable"] = {"const": trainable, "description": "what is trained"}
    by_name = {"type": "string", "description": "the name of a file in published/ next to the space"}
    properties["published"] = {"anyOf": [by_name, *properties["published"]["anyOf"]]}
    if space is None and trainable in ANY_SETTINGS:
        properties["settings"] = {"type": "object", "description": "values of the placeholders in the command"}
    required = [*outline.get("required", []), *definition.get("required", [])]
    if trainable != DEFAULT:
        required.append("trainable")
    schema: dict[str, Any] = _simplify_schema(
        {
            "$schema": DIALECT,
            "description": f"A space of Branchwise whose trainable is {trainable}.",
            "type": "object",
            "properties": properties,
            "required": sorted(required),
            "additionalProperties": False,
            "$defs": outline.get("$defs", {}) | definition.get("$defs", {}),
        }
    )
    return schema


def _simplify_schema(tree: Any) -> Any:
    """Drop pydantic's redundant titles and discriminators, and write `oneOf` as `anyOf`.

    Editors reject valid files otherwise.
    """
    if isinstance(tree, dict):
        stored = {key: value for key, value in tree.items() if not (key == "title" and isinstance(value, str))}
        stored.pop("discriminator", None)
        return {"anyOf" if key == "oneOf" else key: _simplify_schema(value) for key, value in stored.items()}
    return [_simplify_schema(item) for item in tree] if isinstance(tree, list) else tree
