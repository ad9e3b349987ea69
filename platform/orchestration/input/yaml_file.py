"""Reading a space file as YAML, strictly: no duplicate keys, no aliases, no surprises of YAML 1.1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from branchwise.orchestration.errors import UserError

LARGEST = 1 << 20  # bytes; a space is a page of text


class _SpaceLoader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars: `off` is a word, 3e-3 is a number; duplicate keys and aliases are refused."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "anchors and aliases are not allowed", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_SpaceLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in ("null", "int")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_SpaceLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_SpaceLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|nan))$"),
    list("-+0123456789."),
)


def read_file(file: Path) -> bytes:
    """The head of a space file, long enough to tell that it is too long. Raises UserError."""
    try:
        with file.open("rb") as stream:
            return stream.read(LARGEST + 1)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error


def read_tree(file: str, content: bytes, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The content of a space file as nested dicts, each `key.key=value` of `overrides` laid over it.

    Raises UserError, which calls it `file`.
    """
    if len(content) > LARGEST:
        raise UserError(f"{file}: larger than {LARGEST >> 20} MiB, so not a space file")
    try:
        tree = parse_yaml(content.decode())
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text at byte {error.start}") from error
    except ValueError as error:
        raise UserError(f"{file}: not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{file}: must hold a mapping of keys to values, see search_spaces/ablation.yaml")
    for override in overrides:
        _lay_over(tree, override)
    return tree


def parse_yaml(text: str) -> Any:
    """Raises ValueError with one line."""
    try:
        return yaml.load(text, Loader=_SpaceLoader)
    except yaml.MarkedYAMLError as error:
        where = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise ValueError(f"{error.problem}{where}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _lay_over(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise UserError(f"--set {override}: must be KEY.KEY=VALUE, for example --set train.steps=100")
    try:
        value = parse_yaml(text)
    except ValueError as error:
        raise UserError(f"--set {override}: not a YAML value: {error}") from error
    *sections, last = key.split(".")
    node = tree
    for section in sections:
        if not isinstance(node.setdefault(section, {}), dict):
            raise UserError(f"--set {override}: {section} holds a value, not a section")
        node = node[section]
    node[last] = value
