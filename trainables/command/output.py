"""What a program says: JSON lines and patterns on its output while it runs, JSON files at its end."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from branchwise.trainables.command.settings import Command, Source
from branchwise.trainables.command.words import filled

MISSING = object()
LAST_LINES, LONGEST_TOLD = 3, 300  # of what a failed program said last
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Output:
    """Reads the lines of one run. `values` are filled into names of files."""

    def __init__(self, command: Command, values: Mapping[str, Any]) -> None:
        self._command, self._values = command, values
        self._sources: dict[str, Source] = {"value": command.metric, **command.outcomes}
        self._patterns = {name: re.compile(one.pattern) for name, one in self._sources.items() if one.pattern}
        self._progress = re.compile(command.progress.pattern) if command.progress.pattern else None
        self._found: dict[str, Any] = {}

    def line(self, text: str) -> tuple[int, dict[str, Any]] | None:
        """Takes a line of output; returns the step and the numbers where it tells of progress."""
        content = _object(text)
        for name, source in self._sources.items():
            if name in self._patterns:
                if match := self._patterns[name].search(text):
                    self._found[name] = _from_text(match[source.key])
            elif source.file is None and content is not None:
                value = looked_up(content, source.key)
                if value is not MISSING:
                    self._found[name] = value
        return self._step(text, content)

    def _step(self, text: str, content: Mapping[str, Any] | None) -> tuple[int, dict[str, Any]] | None:
        row: Mapping[str, Any] | None = content
        if self._progress is not None:
            match = self._progress.search(text)
            row = {name: _from_text(value) for name, value in match.groupdict().items() if value} if match else None
        step = None if row is None else row.get(self._command.progress.step)
        if row is None or isinstance(step, bool) or not isinstance(step, int | float) or step < 0:
            return None
        metric = self.rung_metric()
        numbers = {key: value for key, value in row.items() if key != self._command.progress.step}
        value = looked_up(row, metric)
        return int(step), numbers if value is MISSING else {**numbers, metric: value}

    def rung_metric(self) -> str:
        return self._command.progress.metric or self._command.metric.key

    def metrics(self, folder: Path) -> dict[str, Any]:
        """What was found of each metric, by column. Raises ValueError saying which is missing, and where it was looked
        for."""
        found = {}
        for name, source in self._sources.items():
            found[name] = self._from_file(source, folder) if source.file is not None else self._found.get(name, MISSING)
            if found[name] is MISSING:
                raise ValueError(f"{source.key} is missing: {_where(source)}")
        return found

    def _from_file(self, source: Source, folder: Path) -> Any:
        file = folder / filled(str(source.file), self._values)
        try:
            return looked_up(json.loads(file.read_bytes()), source.key)
        except FileNotFoundError as error:
            raise ValueError(f"{source.key} is missing: the program has not written {source.file}") from error
        except (OSError, ValueError) as error:
            raise ValueError(f"{source.key} is missing: {source.file} is not a JSON file ({error})") from error


def _where(source: Source) -> str:
    if source.file is not None:
        return f"{source.file} has no such key"
    return f"no line matched {source.pattern}" if source.pattern else "no JSON line of the output has it"


def looked_up(content: Any, key: str) -> Any:
    """The value at a dotted key; MISSING when there is none."""
    if isinstance(content, Mapping) and key in content:
        return content[key]
    for part in key.split("."):
        if isinstance(content, Mapping) and part in content:
            content = content[part]
        elif isinstance(content, Sequence) and not isinstance(content, str) and part.lstrip("-").isdigit():
            try:
                content = content[int(part)]
            except IndexError:
                return MISSING
        else:
            return MISSING
    return content


def last_words(log: bytes) -> str:
    """The last lines of a log in one line, short enough for a table."""
    text = _ANSI.sub("", log[-8192:].decode(errors="replace"))
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    return " | ".join(lines[-LAST_LINES:])[-LONGEST_TOLD:]


def _object(text: str) -> Mapping[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, Mapping) else None


def _from_text(text: str) -> Any:
    """A number as a program prints it, else the text as it is."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text
