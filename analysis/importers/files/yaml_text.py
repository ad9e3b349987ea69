"""YAML with its scalars as spelled: 1.10, 007 and [1e-3] stay. No object is constructed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from branchwise.analysis.records.damage import RunFolderError

HPARAMS = "hparams.yaml"  # Lightning's file of hyperparameters
_PYTHON = "tag:yaml.org,2002:python/"
_RESOLVED = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")
_UNQUOTED = re.compile(r"[-+]?[.0-9][-+.0-9a-zA-Z_]*|true|false|null|~", re.IGNORECASE)  # numbers, booleans, null
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _TextLoader(_Base):  # type: ignore[misc]
    """Loader of scalars and lists as text, null as None, Python tags as their plain value."""


def _strip_tag(loader: Any, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return f"{_python_name(node)}{_text(loader, node)}"
    return _python_name(node) or loader.construct_scalar(node)


def _python_name(node: yaml.Node) -> str:
    """Return the name in a `!!python/` tag; empty for other tags."""
    return str(node.tag)[len(_PYTHON) :].partition(":")[2] if str(node.tag).startswith(_PYTHON) else ""


def _text(loader: Any, node: yaml.Node) -> str:
    """A node as JSON would have it, with numbers as they are spelled."""
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(_text(loader, item) for item in node.value)}]"
    if isinstance(node, yaml.MappingNode):
        return f"{{{', '.join(f'{_text(loader, key)}: {_text(loader, item)}' for key, item in node.value)}}}"
    value = _python_name(node) or loader.construct_scalar(node)
    is_unquoted = isinstance(node, yaml.ScalarNode) and not node.style and _UNQUOTED.fullmatch(value)
    return str(value) if is_unquoted else json.dumps(value, ensure_ascii=False)


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _RESOLVED]
    for first, resolvers in _Base.yaml_implicit_resolvers.items()
}
_TextLoader.add_constructor("tag:yaml.org,2002:seq", _text)
_TextLoader.add_multi_constructor(_PYTHON, _strip_tag)
_TextLoader.add_multi_constructor("!", _strip_tag)
for _name in ("bool", "int", "float", "timestamp", "binary", "set", "omap"):
    _TextLoader.add_constructor(f"tag:yaml.org,2002:{_name}", lambda loader, node: _strip_tag(loader, "", node))


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a file. Raises RunFolderError where it is no YAML or holds something else."""
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_TextLoader)  # which constructs no objects
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RunFolderError(f"{file} is no YAML: {' '.join(str(error).split())[:200]}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise RunFolderError(f"{file}: it must hold names with values, and holds a {type(content).__name__}")
    return content
