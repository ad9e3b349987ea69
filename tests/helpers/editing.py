"""Edits of Python source by its structure, so that they hold whatever its words and its layout are."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

Edit = Callable[[str], str]


def at_end(code: str) -> Edit:
    """Adds code at the end of a module."""
    return lambda source: f"{source.rstrip()}\n\n\n{code}"


def import_line(code: str) -> Edit:
    """Adds an import after those at the top of a module."""

    def edit(source: str) -> str:
        last = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)][-1]
        return _inserted(source, last, f"\n{code}")

    return edit


def entry(collection: str, code: str) -> Edit:
    """Adds an entry to the tuple, list or dictionary that a module assigns to the name `collection`."""

    def edit(source: str) -> str:
        (value,) = (value for node in ast.parse(source).body for value in _assigned(node, collection))
        return _inserted(source, _elements(value)[-1], f", {code}")

    return edit


def member(owner: str, code: str) -> Edit:
    """Adds a member to the class called `owner`."""

    def edit(source: str) -> str:
        (body,) = (
            node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == owner
        )
        return _inserted(source, body[-1], f"\n\n{code}", to_line_end=True)

    return edit


def next_to(name: str, code: str) -> Edit:
    """Adds an element after the only one, of all tuples, lists and dictionaries, that is about `name`.

    That is the text itself, the value of that key, a call of that function, or one that takes an attribute so called.
    """

    def edit(source: str) -> str:
        literals = ((node, element) for node in ast.walk(ast.parse(source)) for element in _elements(node))
        found = [element for node, element in literals if _is_about(node, element, name)]
        assert len(found) == 1, f"{name}: {len(found)} elements"
        return _inserted(source, found[0], f", {code}")

    return edit


def after_line_with(text: str, code: str) -> Edit:
    """Adds a line after the one of a template that has this text."""

    def edit(source: str) -> str:
        lines = source.splitlines(keepends=True)
        (number,) = (i for i, line in enumerate(lines) if text in line)
        return "".join([*lines[: number + 1], f"{code}\n", *lines[number + 1 :]])

    return edit


def _assigned(node: ast.stmt, name: str) -> list[ast.expr | None]:
    """The value that a statement assigns to this name, if it does."""
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return []
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [node.value for target in targets if isinstance(target, ast.Name) and target.id == name]


def _elements(node: ast.AST | None) -> list[ast.expr]:
    """The elements of a literal; of a dictionary, its values."""
    if isinstance(node, ast.Tuple | ast.List):
        return node.elts
    return node.values if isinstance(node, ast.Dict) else []


def _is_about(literal: ast.AST, element: ast.expr, name: str) -> bool:
    if isinstance(literal, ast.Dict):
        key = literal.keys[literal.values.index(element)]
        return isinstance(key, ast.Constant) and key.value == name and not isinstance(element, ast.Constant)
    if isinstance(element, ast.Constant):
        return bool(element.value == name)
    return isinstance(element, ast.Call) and name in _called(element)


def _called(call: ast.Call) -> Iterator[str]:
    if isinstance(call.func, ast.Name):
        yield call.func.id
    yield from (argument.attr for argument in call.args if isinstance(argument, ast.Attribute))


def _inserted(source: str, node: ast.stmt | ast.expr, code: str, to_line_end: bool = False) -> str:
    """The source with code right after a node, or after the comment behind it."""
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    lines = source.splitlines(keepends=True)
    line = lines[node.end_lineno - 1]
    at = len(line.rstrip("\n")) if to_line_end else len(line.encode()[: node.end_col_offset].decode())
    lines[node.end_lineno - 1] = line[:at] + code + line[at:]
    return "".join(lines)
