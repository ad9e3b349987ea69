"""Strict reading of a space file as YAML 1.2 (core schema).

Tags, directives, anchors, aliases and duplicate keys are not allowed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.messages import brief

LARGEST = 1 << 20  # bytes; a space is a page of text
MAX_VALUES = 20_000  # scalars, lists and mappings, keys included
DEEPEST = 32  # levels of lists and mappings
_INT = re.compile(r"(?P<decimal>[-+]?[0-9]+)|0o(?P<octal>[0-7]+)|0x(?P<hexadecimal>[0-9a-fA-F]+)")
_INTEGER_EXPONENT = re.compile(r"[-+]?[0-9]+[eE]\+?[0-9]{1,2}")  # 5e4: usually an int, for which YAML has no exponents
_BASES = {"decimal": 10, "octal": 8, "hexadecimal": 16}
_TAG = "tag:yaml.org,2002:"
# The scalars of YAML 1.2's core schema that are no text: tag, pattern, first characters.
_SCALARS = (
    ("null", r"(?:~|null|Null|NULL|)", [*"~nN", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", [*"tTfF"]),
    ("int", rf"(?:{_INT.pattern})", [*"-+0123456789"]),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        [*"-+0123456789."],
    ),
)


class _SpaceLoader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's scalars that refuses what a space has no use for.

    `off` is a string, `010` is ten, 3e-3 a number.
    """

    _values = 0
    _depth = 0

    def compose_document(self) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if event.version or event.tags:
            raise _refused("directives (%YAML, %TAG) are not allowed", event)
        return super().compose_document()

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent) or event.anchor is not None:
            raise _refused("anchors and aliases are not allowed", event)
        if event.tag is not None:
            raise _refused(f"tags such as {brief(event.tag)} are not allowed", event)
        self._values += 1
        self._depth += 1
        if self._values > MAX_VALUES:
            raise _refused(f"more than {MAX_VALUES} values, so not a space", event)
        if self._depth > DEEPEST:
            raise _refused("nested too deeply", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _refused(f"key {brief(key)} is not text", key_node)
            if key in keys:
                raise _refused(f"duplicate key {brief(key)}", key_node)
            keys.add(key)
        return super().construct_mapping(node, deep)

    def construct_int(self, node: Any) -> int:
        match = _INT.fullmatch(node.value)
        kind = match.lastgroup if match else None
        digits = match[kind] if match and kind else ""
        if (
            not kind
            or len(digits.lstrip("-+0")) > 22
            or not -(1 << 63) <= (value := int(digits, _BASES[kind])) < 1 << 63
        ):
            raise _refused(f"{brief(node.value)} is no integer of 64 bits", node)
        return value

    def construct_number(self, node: Any) -> int | float:
        number = self.construct_yaml_float(node)
        complete = _INTEGER_EXPONENT.fullmatch(node.value) and abs(number) < 1 << 53
        return int(number) if complete else float(number)

    def construct_text(self, node: Any) -> str:
        try:
            node.value.encode()
        except UnicodeEncodeError:
            raise _refused("an escape such as \\ud800 stands for no character", node) from None
        return str(node.value)


_SpaceLoader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in _SCALARS:
    _SpaceLoader.add_implicit_resolver(_TAG + _name, re.compile(f"^{_pattern}$"), _first)
_SpaceLoader.add_constructor(f"{_TAG}bool", lambda loader, node: node.value[0] in "tT")
_SpaceLoader.add_constructor(f"{_TAG}int", _SpaceLoader.construct_int)
_SpaceLoader.add_constructor(f"{_TAG}float", _SpaceLoader.construct_number)
_SpaceLoader.add_constructor(f"{_TAG}str", _SpaceLoader.construct_text)


class _SpaceDumper(yaml.SafeDumper):
    """SafeDumper that also quotes text which is a number in YAML 1.2, not only in YAML 1.1."""

    def represent_text(self, text: str) -> Any:
        # PyYAML breaks lines at characters such as NEL and reads them back as spaces, unless they are escaped.
        lines = text.split("\n")
        style = None if text.isprintable() else "|" if all(map(str.isprintable, lines)) else '"'
        return self.represent_scalar(f"{_TAG}str", text, style=style)


for _name, _pattern, _first in _SCALARS:
    _SpaceDumper.add_implicit_resolver(_TAG + _name, re.compile(f"^{_pattern}$"), _first)
_SpaceDumper.add_representer(str, _SpaceDumper.represent_text)


def _refused(what: str, at: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, what, at.start_mark)


def to_yaml(tree: Any) -> str:
    """Plain values as a text that `parse_yaml`, and each reader of YAML 1.1, reads as the same."""
    return yaml.dump(tree, Dumper=_SpaceDumper, sort_keys=False, allow_unicode=True)


def read_file(file: Path) -> bytes:
    """The head of a space file, long enough to tell that it is too long. Raises UserError."""
    try:
        with file.open("rb") as stream:
            return stream.read(LARGEST + 1)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # a NUL in the path
        raise UserError(f"{file}: cannot be read: {error}") from error


def read_tree(file: str, content: bytes, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a space file as nested dicts, each `key.key=value` of `overrides` laid over it.

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
        _apply_override(tree, override)
    return tree


def parse_yaml(text: str) -> Any:
    """Parse YAML text; raise ValueError with a single line if it is not allowed."""
    try:
        return yaml.load(text, Loader=_SpaceLoader)
    except yaml.MarkedYAMLError as error:
        where = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise ValueError(f"{error.problem}{where}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    message = f"--set {brief(override, quoted=False)}"
    if not equals or not all(key.split(".")):
        raise UserError(f"{message}: must be KEY.KEY=VALUE, for example --set train.steps=100")
    try:
        value = parse_yaml(text)
    except ValueError as error:
        raise UserError(f"{message}: not a YAML value: {error}") from error
    *sections, last = key.split(".")
    if len(sections) > DEEPEST:
        raise UserError(f"{message}: nested too deeply")
    node = tree
    for section in sections:
        if not isinstance(node.setdefault(section, {}), dict):
            raise UserError(f"{message}: {brief(section, quoted=False)} holds a value, not a section")
        node = node[section]
    node[last] = value
