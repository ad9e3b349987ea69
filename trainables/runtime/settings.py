"""Base of each trainable's Spec: the strict model and the patches that distinguish arms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item")
TupleOf = Annotated[tuple[Item, ...], Field(strict=False)]  # YAML and JSON have lists; settings have tuples


class Strict(BaseModel):
    """Immutable settings that refuse unknown keys, wrong types, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


SpecT = TypeVar("SpecT", bound=BaseModel)


def section_of(spec: type[BaseModel]) -> str:
    """The section of a Spec that components switch: `method`, else `settings`.

    Bare keys belong to it.
    """
    return "method" if "method" in spec.model_fields else "settings"


def patched(spec: SpecT, patch: Mapping[str, Any]) -> SpecT:
    """`spec` with the settings in `patch` replaced, validated again.

    A bare key belongs to the section `method`, or `settings` where that is its name, else it is a whole section
    (`data`); a dotted key starts at the top (`train.lr`). Raises pydantic.ValidationError for a value that is not
    allowed and KeyError (the dotted key) for an unknown key.
    """
    tree = spec.model_dump()
    for key, value in patch.items():
        *sections, last = full_key(type(spec), key).split(".")
        node: Any = tree
        for section in sections:
            node = node.get(section) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            raise KeyError(key)
        node[last] = value
    return type(spec).model_validate(tree)


def full_key(spec: type[BaseModel], key: str) -> str:
    """The key of a patch from the top.

    A bare key that is the name of another section only is that whole section.
    """
    section = section_of(spec)
    if "." in key:
        return key
    own = spec.model_fields[section].annotation if section in spec.model_fields else None
    names_section = key in spec.model_fields and key != section and key not in getattr(own, "model_fields", {})
    return key if names_section else f"{section}.{key}"


def bare_key(key: str) -> str:
    """The shortest way to write a key of a patch: `method.anchor_weight` is `anchor_weight`."""
    section, _, last = key.partition(".")
    return last if section in ("method", "settings") and last and "." not in last else key


def setting(spec: BaseModel, key: str) -> Any:
    """The value a patch key (`anchor_weight`, `train.lr`) means in `spec`. Raises KeyError."""
    node: Any = spec
    for part in full_key(type(spec), key).split("."):
        if not isinstance(node, BaseModel) or part not in type(node).model_fields:
            raise KeyError(key)
        node = getattr(node, part)
    return node


def as_yaml(value: Any) -> Any:
    """`value` with lists for tuples, as YAML and JSON have it."""
    if isinstance(value, dict):
        return {key: as_yaml(item) for key, item in value.items()}
    return [as_yaml(item) for item in value] if isinstance(value, list | tuple) else value


def digest(content: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of `content` as canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
