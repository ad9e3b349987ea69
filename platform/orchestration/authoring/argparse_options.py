"""The options that a script declares with argparse, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from branchwise.orchestration.authoring.options import (
    UNKNOWN,
    Option,
    Options,
    Unreadable,
    called,
    constant,
    flag_option,
    module_constants,
    setting_name,
    switch,
    value_option,
)

PLACEHOLDERS = {"int": 1, "float": 0.1}  # values of required options, by type
PREFERRED = ("train", "fit", "run")  # subcommands


def argparse_options(trees: list[ast.Module]) -> Options:
    """The options of the modules `trees`, the script's first."""
    options = Options(parser="argparse")
    names: dict[str, Any] = {}
    for tree in reversed(trees):
        names |= module_constants(tree)
    parsers, groups = _subcommands(trees), _exclusive_groups(trees)
    chosen = next((name for name in PREFERRED if name in parsers.values()), next(iter(parsers.values()), ""))
    if chosen:
        options.arguments = (chosen,)
        options.notes.append(f"the subcommand {chosen}, of {', '.join(dict.fromkeys(parsers.values()))}")
    defaults = _set_defaults(trees, names)
    exclusive_used: set[str] = set()
    for call in _calls(trees, "add_argument"):
        flags = [constant(argument, names) for argument in call.args if not isinstance(argument, ast.Starred)]
        flags = [flag for flag in flags if isinstance(flag, str)]
        receiver = _receiver(call)
        if not flags:
            options.skipped[f"an option on line {call.lineno}"] = "its name is computed when the script runs"
            continue
        flag = next((flag for flag in flags if flag.startswith("--")), flags[0])
        given = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
        if parsers.get(receiver, chosen) != chosen:
            options.skipped[flag] = f"belongs to the subcommand {parsers[receiver]}"
            continue
        if called_name(given.get("action")) in ("help", "version"):
            continue

        def make(flag: str = flag, given: Mapping[str, ast.expr] = given, receiver: str = receiver) -> Option:
            option = _option(flag, given, names, defaults)
            if receiver in groups and not (option.value == "" and option.is_switch):
                raise Unreadable("it excludes other options")
            if receiver in groups and receiver in exclusive_used:
                raise Unreadable("it excludes other options; one of them is a component")
            exclusive_used.add(receiver)
            return option

        options.add(flag, make)
    return options


def _option(flag: str, given: Mapping[str, ast.expr], names: Mapping[str, Any], defaults: Mapping[str, Any]) -> Option:
    action = called_name(given.get("action")) or "store"
    kind = called_name(given.get("type"))
    destination = constant(given.get("dest"), names) or flag.lstrip("-").replace("-", "_")
    default = defaults.get(str(destination), constant(given.get("default"), names))
    required = constant(given.get("required"), names) is True or (
        not flag.startswith("-") and constant(given.get("nargs"), names) not in ("?", "*")
    )
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
    choices = constant(given.get("choices"), names)
    takes_list = constant(given.get("nargs"), names) in ("+", "*") or isinstance(
        constant(given.get("nargs"), names), int
    )
    if default is None and required:
        default = _placeholder(kind, choices)
        default = [default] * _count(constant(given.get("nargs"), names)) if takes_list else default
        return value_option(flag, default, _arguments(flag, takes_list), choices=choices, required=True)
    if isinstance(default, bool):
        return _boolean(flag, default, kind)
    if takes_list and isinstance(default, list | tuple) and not default:
        raise Unreadable("its default is an empty list")
    if isinstance(default, list | tuple) and not takes_list:
        raise Unreadable("its default is a list, which one word cannot give")
    if takes_list and not isinstance(default, list | tuple) and default is not None and default is not UNKNOWN:
        default = [default]
    return value_option(flag, default, _arguments(flag, takes_list), choices=choices)


def _boolean(flag: str, default: bool, kind: str) -> Option:
    if kind == "bool":  # bool("False") is True: only an empty text is false
        name, on, off = setting_name(flag), "True", ""
        note = "type=bool: every text is true, only an empty one is false"
    else:  # str2bool and its like
        name, on, off, note = setting_name(flag), "true", "false", ""
    value, other = (on, off) if default else (off, on)
    word = f"{flag}={{{name}}}" if flag.startswith("-") else f"{{{name}}}"
    if not flag.startswith("-"):
        raise Unreadable("a positional truth value")
    return Option(flag=flag, name=name, arguments=(word,), value=value, other=other, on=default, note=note)


def _placeholder(kind: str, choices: Any) -> Any:
    if isinstance(choices, list) and choices:
        return choices[0]
    return PLACEHOLDERS.get(kind, "FILL_IN")


def _count(nargs: Any) -> int:
    return nargs if isinstance(nargs, int) and nargs > 0 else 1


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


def _exclusive_groups(trees: list[ast.Module]) -> set[str]:
    return {variable for variable, _ in _assigned(trees, "add_mutually_exclusive_group")}


def _set_defaults(trees: list[ast.Module], names: Mapping[str, Any]) -> dict[str, Any]:
    return {
        keyword.arg: constant(keyword.value, names)
        for call in _calls(trees, "set_defaults")
        for keyword in call.keywords
        if keyword.arg
    }
