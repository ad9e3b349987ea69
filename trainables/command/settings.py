"""The sections `command` and `settings` of a space, and what is wrong with them."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, PositiveFloat, PositiveInt, create_model, model_validator

from branchwise.trainables.command.arguments import BUILT_IN, placeholders
from branchwise.trainables.command.numbers import NAME, compile_pattern
from branchwise.trainables.metrics import Declared, Name, not_taken
from branchwise.trainables.runtime.settings import Strict, TupleOf

Value = int | float | str | bool | None
KINDS: dict[Any, str] = {bool: "true or false", int | float: "a number", str: "a text"}


class Source(Strict):
    """Location of a number.

    Under `key` of the JSON `file`, in the last match of `pattern` on the output, or else under `key` of the last JSON
    line there.
    """

    key: str = ""  # dots lead into objects and lists: test.accuracy, results.0.loss
    file: str | None = None  # in the folder of the arm
    pattern: str | None = None  # a regular expression; the group called `key` holds the number

    @model_validator(mode="before")
    @classmethod
    def _complete_key_or_group(cls, tree: Any) -> Any:
        """Name the key after the only group, or the only {number} a group after the key."""
        if not isinstance(tree, Mapping) or not isinstance(tree.get("pattern"), str):
            return tree
        pattern, key = tree["pattern"], tree.get("key")
        groups = list(compile_pattern(pattern).groupindex)
        if key is None and len(groups) == 1:
            return {**tree, "key": groups[0]}
        if not groups and pattern.count(NAME) == 1 and isinstance(key, str) and key.isidentifier():
            return {**tree, "pattern": pattern.replace(NAME, f"(?P<{key}>{NAME})")}
        return tree

    @model_validator(mode="after")
    def _check_source(self) -> Source:
        if not self.key:
            raise ValueError(
                "key is missing: it names the number; of a pattern it is the group that holds it, as in "
                '{key: loss, pattern: "loss {number}"}'
            )
        if self.file is not None and self.pattern is not None:
            raise ValueError("give file or pattern, not both; with neither, JSON lines on the output are read")
        if self.pattern is not None and self.key not in compile_pattern(self.pattern).groupindex:
            raise ValueError(
                f"pattern {self.pattern!r} has no group for {self.key}; write (?P<{self.key}>{NAME}) where it stands"
            )
        if self.file is not None:
            self._check_file(placeholders(self.file))
        return self

    def _check_file(self, names: list[str]) -> None:
        """Refuse a file that arms would share, so that one could read another's result."""
        file = self.file or ""
        if not {"folder", "checkpoints"} & set(names) and (os.path.isabs(file) or ".." in file.split("/")):
            raise ValueError(
                f"file: {file} lies outside the arm's folder, so that every arm would read the same file; have the "
                "script write into its working folder (result.json) or into {folder}"
            )


class CommandOutcome(Declared, Source):
    """A further metric: where it is found, and which direction of it is better."""


class ProgressKeys(Strict):
    """Progress of the program, in JSON lines of its output or in lines that match `pattern`."""

    step: str = "step"  # key or group
    steps: PositiveInt | str | None = None  # the last step: a number, or a placeholder
    metric: str | None = None  # what is compared at rungs; default: the metric's key
    pattern: str | None = None  # its groups are the step and the numbers of a line

    @model_validator(mode="after")
    def _check_step(self) -> ProgressKeys:
        if self.pattern is not None and self.step not in compile_pattern(self.pattern).groupindex:
            raise ValueError(
                f"pattern {self.pattern!r} has no group for the step; write (?P<{self.step}>{NAME}) where it stands"
            )
        return self


class CommandSettings(Declared):
    """The command to run and its metrics; words, environment and files may hold placeholders."""

    run: Annotated[TupleOf[str], Field(min_length=1)]
    metric: Source
    outcomes: dict[Name, CommandOutcome] = Field(default_factory=dict)
    progress: ProgressKeys = ProgressKeys()
    env: dict[str, str] = Field(default_factory=dict)
    config: Literal["yaml", "json", "toml"] | None = None  # write all settings to a file, which {config} names
    cwd: str | None = None  # where to run, from the space's folder; default: the arm's folder
    time_limit: PositiveFloat | None = None  # seconds
    expected_seconds: PositiveFloat | None = None  # of a single run, for planning

    @model_validator(mode="after")
    def _check_outcomes(self) -> CommandSettings:
        not_taken(self.outcomes)
        return self

    def texts(self) -> Iterator[tuple[str, str]]:
        """Each text that may hold placeholders, with the key it is under."""
        yield from ((f"command.run[{index}]", argument) for index, argument in enumerate(self.run))
        yield from ((f"command.env.{name}", value) for name, value in self.env.items())
        if isinstance(self.progress.steps, str):
            yield "command.progress.steps", self.progress.steps
        for name, source in {"metric": self.metric, **self.outcomes}.items():
            if source.file is not None:
                yield f"command.{name if name == 'metric' else f'outcomes.{name}'}.file", source.file


def spec_model(settings: Any) -> type[BaseModel]:
    """The Spec of a space with these `settings`: each setting keeps its type."""
    model = _section("Settings", settings if isinstance(settings, Mapping) else {}, "settings")
    default: Any = model() if isinstance(settings, Mapping) or settings is None else ...
    return create_model("Spec", __base__=_Spec, command=(CommandSettings, ...), settings=(model, default))


class _Spec(Strict):
    @model_validator(mode="after")
    def _check_placeholders(self) -> _Spec:
        command: CommandSettings = self.command  # type: ignore[attr-defined]
        names = flat(self.settings)  # type: ignore[attr-defined]
        built_in = {name: message for name, message in BUILT_IN.items() if name != "config" or command.config}
        used: set[str] = set()
        for where, text in command.texts():
            for name in _placeholders_at(where, text):
                if name not in names and name not in built_in:
                    raise ValueError(_unknown_placeholder(where, name, [*names, *built_in], command))
                used.add(name)
        unused = [name for name in names if name not in used]
        if unused and command.config is None:
            raise ValueError(
                f"settings.{unused[0]}: no placeholder {{{unused[0]}}} uses it, so it would change nothing; use it in "
                "command.run or command.env, or have all settings written to a file (command.config: yaml)"
            )
        return self


def _placeholders_at(where: str, text: str) -> list[str]:
    try:
        return placeholders(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _unknown_placeholder(where: str, name: str, allowed: list[str], command: CommandSettings) -> str:
    if name == "config":
        return f"{where}: {{config}} names a file that is not written; add command.config: yaml, json or toml"
    near = difflib.get_close_matches(name, allowed, n=1)
    hint = f"; did you mean {{{near[0]}}}?" if near else "."
    return f"{where}: {{{name}}} is unknown{hint} Allowed here: {', '.join(allowed)}"


def flat(settings: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Settings by dotted name."""
    results: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        results |= flat(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else {f"{prefix}{name}": value}
    return results


def _section(title: str, tree: Mapping[str, Any], where: str) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for name, value in tree.items():
        if not name.isidentifier() or name.startswith("_") or hasattr(Strict, name):
            raise ValueError(f"{where}.{name}: a setting is named by letters, digits and '_', like a variable")
        if where == "settings" and name in BUILT_IN:
            raise ValueError(f"{where}.{name}: {{{name}}} is {BUILT_IN[name]}; give the setting another name")
        if isinstance(value, Mapping):
            section = _section(name, value, f"{where}.{name}")
            fields[name] = (section, section())
        else:
            fields[name] = (_type(value, f"{where}.{name}"), tuple(value) if isinstance(value, list) else value)
    return create_model(title, __base__=Strict, **fields)


def _type(value: Any, where: str) -> Any:
    """The type of a setting, by its value in the space; each may be null, too."""
    if value is None:
        return Value | TupleOf[Value]
    for kind, name in KINDS.items():
        if isinstance(value, kind):
            return Annotated[kind | None, BeforeValidator(_kind_validator(kind, name, value))]
    if isinstance(value, list) and all(isinstance(item, Value) for item in value):
        return Annotated[TupleOf[Value] | None, BeforeValidator(_kind_validator(list | tuple, "a list", value))]
    raise ValueError(
        f'{where}: {value!r} is not allowed: a number, a text ("" leaves its word out), true, false, null or a list'
    )


def _kind_validator(kind: Any, name: str, built_in: Any) -> Callable[[Any], Any]:
    """A check that a value is of the kind that the setting has in the space."""

    def check(value: Any) -> Any:
        if value is None or (isinstance(value, kind) and isinstance(value, bool) == isinstance(built_in, bool)):
            return value
        written = json.dumps(built_in) if not isinstance(built_in, list | tuple) else list(built_in)
        raise ValueError(
            f"must be {name} or null like the space's own {written} (change that, or write all values as texts)"
        )

    return check
