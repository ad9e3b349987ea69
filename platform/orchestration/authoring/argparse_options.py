"""The options that a script declares with argparse, read from its source."""

from __future__ import annotations

import ast
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any

from branchwise.orchestration.authoring.options import (
    UNKNOWN,
    ScriptOption,
    ScriptOptions,
    Unreadable,
    boolean_option,
    called,
    constant,
    flag_option,
    keywords_of,
    module_constants,
    placeholder,
    switch,
    value_option,
)

PREFERRED = ("train", "fit", "run")  # subcommands


def argparse_options(trees: list[ast.Module]) -> ScriptOptions:
    """The options of the modules `trees`, the script's first."""
    options = ScriptOptions(parser="argparse")
    names = ChainMap(*map(module_constants, trees))
    parsers = _subcommands(trees)
    groups = {variable for variable, _ in _assigned(trees, "add_mutually_exclusive_group")}
    chosen = next((name for name in PREFERRED if name in parsers.values()), next(iter(parsers.values()), ""))
    if chosen:
        options.arguments = (chosen,)
        options.notes.append(f"the subcommand {chosen}, of {', '.join(dict.fromkeys(parsers.values()))}")
    defaults = _set_defaults(trees, names)
    exclusive_used: set[str] = set()

    def make(flag: str, given: Mapping[str, ast.expr], receiver: str) -> ScriptOption:
        option = _option(flag, given, names, defaults)
        if receiver in groups and not (option.value == "" and option.is_switch):
            raise Unreadable("it excludes other options")
        if receiver in groups and receiver in exclusive_used:
            raise Unreadable("it excludes other options; one of them is a component")
        exclusive_used.add(receiver)
        return option

    for call in _calls(trees, "add_argument"):
        flag, given, receiver = options.flag_of(call, names), keywords_of(call), _receiver(call)
        if not flag:
            continue
        if parsers.get(receiver, chosen) != chosen:
            options.skipped[flag] = f"belongs to the subcommand {parsers[receiver]}"
        elif called_name(given.get("action")) not in ("help", "version"):
            options.add(flag, make, given, receiver)
    return options


def _option(
    flag: str, given: Mapping[str, ast.expr], names: Mapping[str, Any], defaults: Mapping[str, Any]
) -> ScriptOption:
    action = called_name(given.get("action")) or "store"
    kind = called_name(given.get("type"))
    destination = constant(given.get("dest"), names) or flag.lstrip("-").replace("-", "_")
    default = defaults.get(str(destination), constant(given.get("default"), names))
    nargs, choices = constant(given.get("nargs"), names), constant(given.get("choices"), names)
    is_positional = not flag.startswith("-")
    required = constant(given.get("required"), names) is True or (is_positional and nargs not in ("?", "*"))
    if action == "BooleanOptionalAction":
        return switch(flag, default, on=flag, off=f"--no-{flag[2:]}")
    if action in ("store_true", "store_false", "store_const"):
        if default is UNKNOWN:
            raise Unreadable("its default is computed when the script runs")
        if (action == "store_true" and default is True) or (action == "store_false" and default is False):
            raise Unreadable("it changes nothing: its default is what it sets")
        return flag_option(flag)
    if action != "store":
        raise Unreadable(f"its action is {action}")
    takes_list = nargs in ("+", "*") or isinstance(nargs, int)
    if default is None and required:
        default = placeholder(kind, choices)
        if takes_list:
            default = [default] * (nargs if isinstance(nargs, int) and nargs > 0 else 1)
        return value_option(flag, default, _arguments(flag, takes_list), choices=choices, required=True)
    if isinstance(default, bool):
        if is_positional:
            raise Unreadable("a positional truth value")
        if kind == "bool":  # bool("False") is True: only an empty text is false
            note = "type=bool: every text is true, only an empty one is false"
            return boolean_option(flag, default, on="True", off="", note=note)
        return boolean_option(flag, default)  # str2bool and its like
    if takes_list and isinstance(default, list | tuple) and not default:
        raise Unreadable("its default is an empty list")
    if isinstance(default, list | tuple) and not takes_list:
        raise Unreadable("its default is a list, which one word cannot give")
    if takes_list and not isinstance(default, list | tuple) and default is not None and default is not UNKNOWN:
        default = [default]
    return value_option(flag, default, _arguments(flag, takes_list), choices=choices)


def _arguments(flag: str, takes_list: bool) -> tuple[str, ...]:
    """An `=` lets a negative number follow, which argparse would otherwise parse as an option."""
    if not flag.startswith("-"):
        return ("{}",)
    return (flag, "{}") if takes_list else (f"{flag}={{}}",)


def called_name(node: ast.AST | None) -> str:
    """The name that an argument such as type=int or action="store_true" has."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    return called(node) if node is not None else ""


def _calls(trees: list[ast.Module], method: str) -> Iterator[ast.Call]:
    for tree in trees:
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        named_calls = [node for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr == method]
        yield from sorted(named_calls, key=lambda node: (node.lineno, node.col_offset))


def _receiver(call: ast.Call) -> str:
    value = call.func.value if isinstance(call.func, ast.Attribute) else None
    return value.id if isinstance(value, ast.Name) else ""


def _assigned(trees: list[ast.Module], method: str) -> Iterator[tuple[str, ast.Call]]:
    """The variables that a call of this method is assigned to."""
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and called(node.value) == method:
                yield from ((target.id, node.value) for target in node.targets if isinstance(target, ast.Name))


def _subcommands(trees: list[ast.Module]) -> dict[str, str]:
    """By variable, the subcommand of the parser that it holds."""
    return {
        variable: str(call.args[0].value)
        for variable, call in _assigned(trees, "add_parser")
        if call.args and isinstance(call.args[0], ast.Constant)
    }


def _set_defaults(trees: list[ast.Module], names: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: constant(value, names)
        for call in _calls(trees, "set_defaults")
        for name, value in keywords_of(call).items()
    }
