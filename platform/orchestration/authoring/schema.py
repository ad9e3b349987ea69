"""The JSON Schema of a space, with which editors complete keys and mark what is wrong."""

from __future__ import annotations

from typing import Any

from branchwise.orchestration.space import Outline, Space
from branchwise.trainables import DEFAULT, load_trainable

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ANY_SETTINGS = ("command",)  # trainables with settings that each space names


def schema_of(trainable: str, space: Space | None = None) -> dict[str, Any]:
    """The schema of spaces of this trainable; of only `space`, settings included, if given."""
    model = space.module.Spec if space is not None else load_trainable(trainable).Spec
    outline = Outline.model_json_schema()
    definition = model.model_json_schema()
    properties = outline["properties"] | definition["properties"]
    properties["trainable"] = {"const": trainable, "description": "what is trained"}
    by_name = {"type": "string", "description": "the name of a file in published/ beside the space"}
    properties["published"] = {"anyOf": [by_name, *properties["published"]["anyOf"]]}
    if space is None and trainable in ANY_SETTINGS:
        properties["settings"] = {"type": "object", "description": "values of the placeholders in the command"}
    required = [*outline.get("required", []), *definition.get("required", [])]
    if trainable != DEFAULT:
        required.append("trainable")
    schema: dict[str, Any] = _plain(
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


def _plain(tree: Any) -> Any:
    """Without what pydantic adds and editors trip over: titles that repeat the key, and unions that allow one match
    only, where code distinguishes their members."""
    if isinstance(tree, dict):
        stored = {key: value for key, value in tree.items() if not (key == "title" and isinstance(value, str))}
        stored.pop("discriminator", None)
        return {"anyOf" if key == "oneOf" else key: _plain(value) for key, value in stored.items()}
    return [_plain(item) for item in tree] if isinstance(tree, list) else tree
