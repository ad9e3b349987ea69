"""The options that a script declares without argparse.

They are declared with click, typer, fire, tyro, absl, Hugging Face's parser or Hydra.
"""

from __future__ import annotations

import ast
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from branchwise.orchestration.authoring.argparse_options import called_name
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
    switch,
    value_option,
)
from branchwise.orchestration.input.yaml_file import parse_yaml

Function = ast.FunctionDef | ast.AsyncFunctionDef
# Of transformers.TrainingArguments, with its defaults.
TRAINING_ARGUMENTS = {
    "learning_rate": 5e-5,
    "num_train_epochs": 3.0,
    "per_device_train_batch_size": 8,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "seed": 42,
}


def click_options(tree: ast.Module) -> ScriptOptions:
    options, names = ScriptOptions(parser="click"), module_constants(tree)
    for function in _functions(tree):
        for call in (node for node in function.decorator_list if isinstance(node, ast.Call)):
            if called(call) in ("option", "argument") and (flag := options.flag_of(call, names)):
                options.add(flag, _click, keywords_of(call), names, called(call) == "argument")
    return options


def _click(flag: str, given: Mapping[str, ast.expr], names: Mapping[str, Any], argument: bool) -> ScriptOption:
    default = constant(given.get("default"), names)
    kind, choices = called_name(given.get("type")).lower().replace("floatrange", "float").replace("intrange", "int"), ()
    if isinstance(given.get("type"), ast.Call) and kind == "choice":
        values = constant(given["type"].args[0], names) if given["type"].args else UNKNOWN  # type: ignore[attr-defined]
        choices = tuple(values) if isinstance(values, list) else ()
    if argument:
        return value_option(flag, default, ("{}",), kind=kind, choices=choices, required=default is None)
    if "/" in flag:
        on, off = (part.strip() for part in flag.split("/", 1))
        if not off:
            return flag_option(on)
        return switch(on, bool(default) if default is None else default, on=on, off=off)
    if constant(given.get("is_flag"), names) is True:
        if default not in (None, False):
            raise Unreadable("it changes nothing: its default is what it sets")
        return flag_option(flag)
    if constant(given.get("count"), names) is True:
        raise Unreadable("it counts how often it is given")
    arguments = (f"{flag}={{}}",) if flag.startswith("--") else (flag, "{}")
    if constant(given.get("multiple"), names) is True or "nargs" in given:
        raise Unreadable("it takes several values")
    if isinstance(default, bool):
        return boolean_option(flag, default)
    required = default is None and constant(given.get("required"), names) is True
    return value_option(flag, default, arguments, kind=kind, choices=choices, required=required)


def function_options(tree: ast.Module, parser: str) -> ScriptOptions:
    """The parameters of the function that typer or fire call."""
    options, names = ScriptOptions(parser=parser), module_constants(tree)
    commands = dict(_typer_commands(tree) if parser == "typer" else _fire_commands(tree))
    if not commands:
        return options
    chosen = next((name for name in ("train", "fit", "run", "main") if name in commands), next(iter(commands)))
    if len(commands) > 1:
        options.notes.append(f"the subcommand {chosen}, of {', '.join(commands)}")
    if chosen:
        options.arguments = (chosen,)
    for parameter, annotation, default in _parameters(commands[chosen]):
        if parser == "typer":
            options.add(f"--{parameter.replace('_', '-')}", _typer, annotation, default, names)
        else:
            options.add(f"--{parameter}", _fire, default, names)
    return options


def _typer_commands(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """The commands by name; a single command has no name."""
    commands: dict[str, Function] = {}
    for function in _functions(tree):
        for decorator in function.decorator_list:
            if called(decorator) == "command":
                given = constant(decorator.args[0]) if isinstance(decorator, ast.Call) and decorator.args else None
                commands[given if isinstance(given, str) else function.name.replace("_", "-")] = function
    if len(commands) > 1:
        yield from commands.items()
    else:
        yield from (("", function) for function in [*commands.values(), *_functions_passed_to(tree, "run")][:1])


def _fire_commands(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """The commands by name.

    A dictionary of functions or a bare Fire() requires a command even if there is only one.
    """
    functions = {function.name: function for function in tree.body if isinstance(function, Function)}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and called(node) == "Fire"):
        first = call.args[0] if call.args else None
        if isinstance(first, ast.Dict):
            names = {constant(key): value for key, value in zip(first.keys, first.values, strict=True) if key}
            words = {str(word): value.id for word, value in names.items() if isinstance(value, ast.Name)}
            yield from ((word, functions[name]) for word, name in words.items() if name in functions)
        elif first is None and not call.keywords:
            yield from functions.items()
    yield from (("", function) for function in _functions_passed_to(tree, "Fire"))


def _functions_passed_to(tree: ast.Module, entry: str) -> Iterator[Function]:
    """The functions that a call of `entry` is given by name."""
    functions = {function.name: function for function in _functions(tree)}
    for node in ast.walk(tree):
        first = node.args[0] if isinstance(node, ast.Call) and called(node) == entry and node.args else None
        if isinstance(first, ast.Name) and first.id in functions:
            yield functions[first.id]


def _functions(tree: ast.Module) -> Iterator[Function]:
    yield from (node for node in ast.walk(tree) if isinstance(node, Function))


def _parameters(function: Function) -> Iterator[tuple[str, ast.expr | None, ast.expr | None]]:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = [*zip(positional, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    yield from ((parameter.arg, parameter.annotation, default) for parameter, default in pairs)


def _typer(flag: str, annotation: ast.expr | None, default: ast.expr | None, names: Mapping[str, Any]) -> ScriptOption:
    kind, details = annotation, None
    if isinstance(annotation, ast.Subscript) and called(annotation.value) == "Annotated":
        parts = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else []
        kind = parts[0] if parts else None
        details = next((part for part in parts[1:] if isinstance(part, ast.Call)), None)
    if isinstance(default, ast.Call) and called(default) in ("Option", "Argument"):
        details, default = default, default.args[0] if default.args else None
        if isinstance(default, ast.Constant) and default.value is ...:
            default = None
        declared = [constant(argument) for argument in details.args[1:]]
    else:
        declared = [constant(argument) for argument in details.args] if details is not None else []
    argument = (default is None and (details is None or called(details) != "Option")) or (
        details is not None and called(details) == "Argument"
    )
    custom = next((flag for flag in declared if isinstance(flag, str) and flag.startswith("--")), "")
    value = constant(default, names) if default is not None else None
    kind_name = called(kind) if kind is not None else ""
    if argument:
        return value_option(flag, value, ("{}",), kind=kind_name, required=value is None)
    if kind_name == "bool" or isinstance(value, bool):
        on, _, off = (custom or flag).partition("/")
        return switch(on, value, on=on, off=off or f"--no-{on[2:]}")
    flag = custom or flag
    return value_option(flag, value, (f"{flag}={{}}",), kind=kind_name, required=default is None)


def _fire(flag: str, default: ast.expr | None, names: Mapping[str, Any]) -> ScriptOption:
    value = constant(default, names) if default is not None else None
    if isinstance(value, bool):
        return boolean_option(flag, value, on="True", off="False")
    if isinstance(value, list):
        raise Unreadable("its default is a list")
    return value_option(flag, value, (f"{flag}={{}}",), required=default is None)


def absl_options(trees: Sequence[ast.Module]) -> ScriptOptions:
    """The flags that the modules `trees` define, the script's first."""
    options = ScriptOptions(parser="absl")
    names = ChainMap(*map(module_constants, trees))
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    required = {
        flag
        for call in calls
        if called(call) in ("mark_flag_as_required", "mark_flags_as_required") and call.args
        for flag in _as_list(constant(call.args[0], names))
    }
    for call in calls:
        kind = called(call).removeprefix("DEFINE_")
        if kind == called(call) or kind == "alias":
            continue
        given = dict(zip(("name", "default", "enum_values"), call.args, strict=False))
        given |= keywords_of(call)
        name = constant(given.get("name"), names)
        if isinstance(name, str):
            must = name in required or constant(given.get("required"), names) is True
            options.add(f"--{name}", _absl, kind, given, names, must)
    return options


def _absl(
    flag: str, kind: str, given: Mapping[str, ast.expr], names: Mapping[str, Any], required: bool
) -> ScriptOption:
    default = constant(given.get("default"), names)
    if kind.startswith("multi_"):
        raise Unreadable("it takes several values")
    if kind in ("bool", "boolean"):
        return switch(flag, default, on=flag, off=f"--no{flag[2:]}")
    if (
        kind in ("list", "spaceseplist")
        and isinstance(default, list)
        and all(isinstance(item, str) for item in default)
    ):
        default = ("," if kind == "list" else " ").join(default)
    choices = constant(given.get("enum_values"), names) if kind == "enum" else ()
    kind = "int" if kind == "integer" else kind
    return value_option(
        flag, default, (f"{flag}={{}}",), kind=kind, choices=choices, required=required and default is None
    )


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if isinstance(value, str) else []


def dataclass_options(tree: ast.Module, parser: str) -> ScriptOptions:
    """The fields of the dataclasses that Hugging Face's parser or tyro read."""
    options, names = ScriptOptions(parser=parser), module_constants(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(called(item) == "dataclass" for item in node.decorator_list):
            for statement in node.body:
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    field = statement.target.id
                    flag = f"--{field}" if parser != "tyro" else f"--{field.replace('_', '-')}"
                    options.add(flag, _field, statement, names, parser)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    if parser != "tyro" and any(name.endswith("TrainingArguments") for name in used):
        for field, default in TRAINING_ARGUMENTS.items():
            options.add(f"--{field}", value_option, default, (f"--{field}={{}}",))
        options.fixed = ("--output_dir={folder}",)
        options.notes.append("of TrainingArguments the most common; add others to run and settings")
    return options


def _field(flag: str, statement: ast.AnnAssign, names: Mapping[str, Any], parser: str) -> ScriptOption:
    default: Any = statement.value
    if isinstance(default, ast.Call) and called(default) in ("field", "HfArg"):
        given = keywords_of(default)
        if "default_factory" in given:
            raise Unreadable("its default is computed when the script runs")
        default = given.get("default")
    value = constant(default, names) if default is not None else None
    if isinstance(value, bool):
        if parser == "tyro":
            return switch(flag, value, on=flag, off=f"--no-{flag[2:]}")
        return boolean_option(flag, value)
    required = default is None
    kind = called_name(statement.annotation)
    if required and "None" in ast.unparse(statement.annotation):
        raise Unreadable("it has no default")
    return value_option(flag, value, (f"{flag}={{}}",), kind=kind, required=required)


def hydra_options(tree: ast.Module, folder: Path) -> ScriptOptions:
    """The values of the config file that hydra.main names."""
    options = ScriptOptions(parser="Hydra")
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and called(node) == "main"]
    given = {name: constant(value) for call in calls for name, value in keywords_of(call).items()}
    path, name = given.get("config_path") or ".", given.get("config_name")
    if not isinstance(name, str) or not isinstance(path, str):
        options.notes.append("hydra.main names no config file that could be read")
        return options
    file = folder / path / (name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    try:
        config = parse_yaml(file.read_text())
    except (OSError, ValueError) as error:
        options.notes.append(f"{file} could not be read ({getattr(error, 'strerror', None) or error})")
        return options
    for key, value in _leaves(config if isinstance(config, dict) else {}):
        if not key.startswith(("defaults", "hydra")):
            options.add(key, _hydra, value)
    if isinstance(config, dict) and "defaults" in config:
        options.notes.append(f"{file.name} has a list of defaults; the files that it names were not read")
    return options


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _hydra(key: str, value: Any) -> ScriptOption:
    if isinstance(value, str) and ("${" in value or value == "???" or not value.isprintable()):
        raise Unreadable("required: ???" if value == "???" else "its value refers to others")
    if isinstance(value, list):
        raise Unreadable("its value is a list")
    if isinstance(value, bool):
        return boolean_option(key, value, on=True, off=False)
    return value_option(key, value, (f"{key}={{}}",))
