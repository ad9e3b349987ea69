"""The options of a script as settings of a space, read from Python source that is not run."""

from __future__ import annotations

import ast
import keyword
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from branchwise.trainables.command.arguments import BUILT_IN, as_argument
from branchwise.trainables.runtime.settings import Strict

SEEDS = ("seed", "random_seed", "random_state", "manual_seed", "rng_seed", "global_seed")
MAX_INTEGER = 1 << 63
MAX_TEXT = 400  # characters of a default
UNKNOWN = object()  # a value that cannot be read
PLACEHOLDERS = {"int": 1, "float": 0.1}  # values of required options, by type
NEGATIONS = ("no_", "not_", "without_", "disable_", "skip_")


class Unreadable(Exception):  # noqa: N818
    """An option cannot be written into a space; the message states why."""


@dataclass(frozen=True, kw_only=True)
class ScriptOption:
    """An option of a script: its command-line arguments, with a placeholder, and its default."""

    flag: str  # as the user knows it: --lr
    name: str  # of the setting
    arguments: tuple[str, ...]
    value: Any
    other: Any = UNKNOWN  # of a switch, the value that flips it
    on: bool = False  # of a switch, whether it is given or true by default
    choices: tuple[Any, ...] = ()
    required: bool = False  # the value is a placeholder: the script has no default
    note: str = ""

    @property
    def is_seed(self) -> bool:
        return names_seed(self.flag)

    @property
    def is_switch(self) -> bool:
        return self.other is not UNKNOWN


class NoDefaultError(Unreadable):
    """An option that has no default, `option`: a space holds it once it is given a value."""

    def __init__(self, option: ScriptOption) -> None:
        super().__init__("it has no default")
        self.option = option


@dataclass
class ScriptOptions:
    """The options of a script; `skipped` has the reasons why some keep the script's default."""

    options: list[ScriptOption] = field(default_factory=list)
    unset: list[ScriptOption] = field(default_factory=list)  # of those skipped, the ones that only lack a value
    skipped: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()  # before the options: a subcommand
    fixed: tuple[str, ...] = ()  # arguments after them
    parser: str = ""  # argparse, click, ...
    notes: list[str] = field(default_factory=list)

    def flag_of(self, call: ast.Call, names: Mapping[str, Any]) -> str:
        """The long flag that a call declares; empty where it is computed, which is noted."""
        flags = [flag for argument in call.args if isinstance(flag := constant(argument, names), str)]
        if not flags:
            self.skipped[f"an option on line {call.lineno}"] = "its name is computed when the script runs"
            return ""
        return next((flag for flag in flags if flag.startswith("--")), flags[0])

    def add(self, flag: str, make: Callable[..., ScriptOption], *arguments: Any) -> None:
        """Add the option that `make` returns for the flag and these arguments.

        Notes the reason if there is none.
        """
        try:
            option = make(flag, *arguments)
        except Unreadable as reason:
            self.skipped[flag] = str(reason)
            self.unset += [reason.option] if isinstance(reason, NoDefaultError) else []
            return
        if any(other.name == option.name for other in self.options):
            self.skipped[flag] = "declared twice"
        else:
            self.options.append(option)

    def give(self, name: str, value: Any) -> None:
        """Replace the default of an option.

        Raises:
            KeyError: No such option exists; its second argument lists the existing names.
            Unreadable: The option cannot take this value.
        """
        option = next((o for o in [*self.options, *self.unset] if setting_name(name) == o.name), None)
        if option is None:
            raise KeyError(name, [option.name for option in [*self.options, *self.unset]])
        if option.is_seed:
            raise Unreadable("each block sets the seed; see design.first_seed")
        if option.is_switch and isinstance(value, bool):
            value = option.value if value == option.on else option.other
        if isinstance(option.value, str) and isinstance(value, bool | int | float):
            value = as_argument(value)
        if checked(value) is None or (option.is_switch and value not in (option.value, option.other)):
            raise Unreadable("must be true or false" if option.is_switch else "must be a value")
        turned = option.is_switch and value != option.value
        given = replace(
            option,
            value=value,
            other=option.value if turned else option.other,
            on=option.on != turned,
            required=False,
        )
        self.skipped.pop(option.flag, None)
        self.unset = [other for other in self.unset if other is not option]
        self.options = [given if other is option else other for other in self.options]
        self.options += [] if given in self.options else [given]

    @property
    def total(self) -> int:
        return len(self.options) + len(self.skipped)


def names_seed(flag: str) -> bool:
    """Whether an option sets the seed: --seed, --random-state, --manualSeed."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|-", "_", flag.strip("-")).lower() in SEEDS


def setting_name(text: str) -> str:
    """The name of the setting for an option: a variable's, not taken by Branchwise or a keyword."""
    name = "".join(character if character.isalnum() and character.isascii() else "_" for character in text.strip("-"))
    name = name.strip("_") or "option"
    if name[0].isdigit():
        name = f"option_{name}"
    taken = name in BUILT_IN or hasattr(Strict, name) or keyword.iskeyword(name)
    return f"{name}_option" if taken else name


def checked(value: Any) -> Any:
    """`value` where a space can hold it. Raises Unreadable."""
    if value is UNKNOWN:
        raise Unreadable("its default is computed when the script runs")
    if isinstance(value, list | tuple):
        return [checked(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        if abs(value) >= MAX_INTEGER:
            raise Unreadable("its default has more than 64 bits")
        return value
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise Unreadable(f"its default is {value}")
        return value
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise Unreadable("its default is a long text")
        if "\0" in value or (not value.isascii() and not value.isprintable()):
            raise Unreadable("its default is not printable")
        return value
    raise Unreadable(f"its default is a {type(value).__name__}")


def placeholder(kind: str, choices: Any = ()) -> Any:
    """The value of a required option of a type: its first choice, if any."""
    return choices[0] if isinstance(choices, list | tuple) and choices else PLACEHOLDERS.get(kind, "FILL_IN")


def value_option(
    flag: str, value: Any, arguments: tuple[str, ...], *, kind: str = "", choices: Any = (), required: bool = False
) -> ScriptOption:
    """An option with a value, that of a type `kind` if it is required and has none.

    `arguments` hold {} for the placeholder. Raises Unreadable.
    """
    name = setting_name(flag)
    if required and value is None:
        value = placeholder(kind, choices)
    if names_seed(flag) and (value is None or value is UNKNOWN):
        value = 0
    value = checked(value)
    if isinstance(value, list) and any(isinstance(item, list) for item in value):
        raise Unreadable("its default is a list of lists")
    placed = tuple(argument.replace("{}", f"{{{name}}}") for argument in arguments)
    listed = choices if isinstance(choices, list | tuple) else ()
    allowed = tuple(choice for choice in listed if isinstance(choice, str | int | float))
    option = ScriptOption(flag=flag, name=name, arguments=placed, value=value, choices=allowed, required=required)
    if value is None:
        raise NoDefaultError(option)
    return option


def switch(flag: str, default: Any, *, on: str, off: str) -> ScriptOption:
    """A switch, with the argument of the script as its setting. Raises Unreadable."""
    if not isinstance(default, bool):
        raise Unreadable("its default is computed when the script runs")
    name = setting_name(flag)
    value, other = (on, off) if default else (off, on)
    return ScriptOption(flag=flag, name=name, arguments=(f"{{{name}}}",), value=value, other=other, on=default)


def boolean_option(flag: str, default: bool, on: Any = "true", off: Any = "false", note: str = "") -> ScriptOption:
    """An option that takes a truth value, `on` or `off`: --ema=true."""
    name, arguments = setting_name(flag), (f"{flag}={{{setting_name(flag)}}}",)
    value, other = (on, off) if default else (off, on)
    return ScriptOption(flag=flag, name=name, arguments=arguments, value=value, other=other, on=default, note=note)


def flag_option(flag: str) -> ScriptOption:
    """An option without a value that is absent by default: --ema, or --no-aug."""
    name = setting_name(flag)
    return ScriptOption(flag=flag, name=name, arguments=(f"{{{name}}}",), value="", other=flag)


_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def constant(node: ast.AST | None, names: Mapping[str, Any] | None = None) -> Any:
    """The value of an expression of literals and module-level `names`; UNKNOWN for any other."""
    names = names or {}
    if node is None:
        return None
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [constant(item, names) for item in node.elts]
    if isinstance(node, ast.Name):
        return names.get(node.id, UNKNOWN)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = constant(node.operand, names)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return UNKNOWN
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        return _computed(node, names)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("float", "int", "str"):
        value = constant(node.args[0], names) if len(node.args) == 1 else UNKNOWN
        try:
            return {"float": float, "int": int, "str": str}[node.func.id](value)
        except (TypeError, ValueError, OverflowError):
            return UNKNOWN
    return UNKNOWN


def _computed(node: ast.BinOp, names: Mapping[str, Any]) -> Any:
    left, right = constant(node.left, names), constant(node.right, names)
    if not all(isinstance(side, int | float) for side in (left, right)):
        return UNKNOWN
    try:
        if isinstance(node.op, ast.Pow) and abs(left) <= 1e6 and abs(right) <= 64:
            return left**right
        return _BINARY[type(node.op)](left, right)
    except (KeyError, ZeroDivisionError, OverflowError):
        return UNKNOWN


def module_constants(tree: ast.Module) -> dict[str, Any]:
    """The names that are assigned once at the top of a module, to values that can be read."""
    constants: dict[str, Any] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        value = constant(node.value, constants)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(target, ast.Name):
                constants[target.id] = UNKNOWN if target.id in constants else value
            elif isinstance(target, ast.Tuple) and isinstance(value, list) and len(value) == len(target.elts):
                names = [item.id for item in target.elts if isinstance(item, ast.Name)]
                constants |= dict(zip(names, value, strict=False)) if len(names) == len(value) else {}
    return {name: value for name, value in constants.items() if value is not UNKNOWN}


def keywords_of(call: ast.Call) -> dict[str, ast.expr]:
    """The arguments that a call is given by name."""
    return {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}


def called(node: ast.AST) -> str:
    """The last name of what a call calls: add_argument of parser.add_argument(...)."""
    function = node.func if isinstance(node, ast.Call) else node
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )
