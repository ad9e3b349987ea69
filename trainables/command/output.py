"""Metrics in the output of a program: JSON lines, dicts, patterns, and JSON files."""

from __future__ import annotations

import ast
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from branchwise.trainables.command.arguments import filled
from branchwise.trainables.command.numbers import NumberPattern, Printed, SlowPatternError, parse_number
from branchwise.trainables.command.settings import CommandSettings, Source
from branchwise.trainables.metrics import as_number

MISSING = object()
LAST_LINES, MAX_MESSAGE = 3, 300  # of what a failed program printed last
MAX_STEP = 1 << 53
MAX_FILE = 64 << 20  # bytes of a result file
MAX_DICT = 100_000  # characters of a printed Python dict
_ESCAPES = re.compile(r"\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)|\[[0-9;?]*[@-~]|[()][A-Z0-9]|[=>78])")
_MISSING_METRIC = re.compile(
    r"(?:No such file or directory|[Nn]ot found|does not exist|[Uu]nable to open|[Cc]annot open)[^'\"\n]{0,40}['\"]"
    r"(?P<quoted>[^'\"\n]{1,300})['\"]|(?P<plain>[\w./-]{1,300}):? (?:No such file or directory|not found)"
)
_MOVES = re.compile(r"\x1b\[[0-9;?]*[A-HJSTf]|\r|\x08+")  # of the cursor: what follows is another line


def plain_lines(text: str) -> Iterator[str]:
    """Yield the lines that a terminal would have displayed, without colors."""
    if text.isprintable():  # the usual case
        yield text
        return
    for line in _MOVES.sub("\n", text).split("\n"):
        yield _ESCAPES.sub("", line)


class Output:
    """Reads the output and the files of a single run. `values` are filled into names of files.

    A metric is the last on the standard output; the standard error counts where the standard output has none.
    """

    def __init__(self, command: CommandSettings, values: Mapping[str, Any]) -> None:
        self._command, self._values = command, values
        self._sources: dict[str, Source] = {"value": command.metric, **command.outcomes}
        self._patterns = {
            name: NumberPattern(source.pattern, source.key) for name, source in self._sources.items() if source.pattern
        }
        progress = command.progress
        self._progress = NumberPattern(progress.pattern, progress.metric or "") if progress.pattern else None
        self._matches: dict[bool, dict[str, Any]] = {False: {}, True: {}}  # by whether it is the standard error
        self._started, self._before = 0, dict[str, os.stat_result | None]()
        self._last_keys = {name: source.key.rpartition(".")[2] for name, source in self._sources.items()}
        self._mentions: dict[str, str] = {}  # by metric: the last line that names its key
        self.notes: list[str] = []

    def line(self, text: str, *, error: bool = False) -> tuple[int, dict[str, Any]] | None:
        """Take a line of output; return the step and the numbers of a line that reports progress.

        `error`: whether it is of standard error. Raises SlowPatternError.
        """
        reports = [report for line in plain_lines(text) if (report := self._line(line, error))]
        return reports[-1] if reports else None

    def _line(self, text: str, error: bool) -> tuple[int, dict[str, Any]] | None:
        content = printed_mapping(text) if text.lstrip()[:1] == "{" else None
        for name, source in self._sources.items():
            if name in self._patterns:
                if groups := self._patterns[name].search(text):
                    self._matches[error][name] = groups.get(source.key, MISSING)
            elif source.file is None and content is not None:
                value = value_at(content, source.key)
                if value is not MISSING:
                    self._matches[error][name] = value
            if self._last_keys[name] in text:
                self._mentions[name] = text
        return self._step(text, content)

    def _step(self, text: str, content: Mapping[str, Any] | None) -> tuple[int, dict[str, Any]] | None:
        row = self._progress_groups(text) if self._command.progress.pattern else content
        if row is None:
            return None
        step = as_number(row.get(self._command.progress.step))
        if step is None or not 0 <= step <= MAX_STEP:
            return None
        numbers = {str(key): value for key, value in row.items() if key != self._command.progress.step}
        steps = as_number(numbers.get("steps", 0))
        if steps is None or not 0 <= steps < math.inf:
            del numbers["steps"]
        metric = self._command.progress.metric or self._command.metric.key  # what is compared at rungs
        value = value_at(row, metric)
        return int(step), numbers if value is MISSING else {**numbers, metric: value}

    def _progress_groups(self, text: str) -> Mapping[str, Any] | None:
        if self._progress is None:
            return None
        try:
            groups = self._progress.search(text)
        except SlowPatternError as slow:
            self._progress = None  # progress never fails an arm
            self.notes.append(f"command.progress: {slow}; no further progress was read")
            return None
        return groups and {name: printed.value for name, printed in groups.items()}

    def metrics(self, folder: Path, cwd: Path | None = None) -> dict[str, Printed]:
        """Return the value of each metric, by column.

        Args:
            folder: The arm's folder.
            cwd: Where the program ran, if in another folder.

        Raises:
            ValueError: A metric is missing; the message states which, and where it was searched for.
        """
        results: dict[str, Printed] = {}
        for name, source in self._sources.items():
            if source.file is not None:
                value = self._from_file(name, source, folder, cwd)
            else:
                value = self._matches[False].get(name, self._matches[True].get(name, MISSING))
            if value is MISSING:
                raise ValueError(f"{source.key} is missing: {self._where(name, source)}")
            results[name] = value if isinstance(value, Printed) else Printed(value)
        return results

    def start(self, folder: Path) -> None:
        """Note which result files exist before the attempt; `folder` is the arm's."""
        self._started = folder.stat().st_mtime_ns
        for name, source in self._sources.items():
            if source.file is not None:
                self._before[name] = _stat(folder / filled(source.file, self._values))

    def _from_file(self, name: str, source: Source, folder: Path, cwd: Path | None) -> Any:
        file = folder / (filename := filled(str(source.file), self._values))
        info = _stat(file)
        if info is None:
            where = _other_location(filename, folder, cwd)
            raise ValueError(f"{source.key} is missing: the program has not written {filename} into its folder{where}")
        if not stat.S_ISREG(info.st_mode):
            raise ValueError(f"{source.key} is missing: {filename} is not a regular file")
        same_clock = info.st_dev == folder.stat().st_dev
        if _version(info) == _version(self._before[name]) or (same_clock and info.st_mtime_ns < self._started):
            raise ValueError(
                f"{source.key} is missing: {filename} is older than this attempt, so it is not its result; the program "
                "has not written it"
            )
        if info.st_size > MAX_FILE:
            raise ValueError(f"{source.key} is missing: {filename} is larger than {MAX_FILE >> 20} MB")
        try:
            content = _parsed(file.read_bytes(), source.key)
        except (OSError, RecursionError, ValueError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
            raise ValueError(f"{source.key} is missing: {filename} is not a JSON file ({reason})") from error
        value = value_at(content, source.key)
        if value is MISSING:
            keys = list(map(str, content)) if isinstance(content, Mapping) else []
            has = f"; it has {', '.join(keys[:8])}" if keys else ""
            raise ValueError(f"{source.key} is missing: {filename} has no such key{has}")
        return value

    def _where(self, name: str, source: Source) -> str:
        mention = self._mentions.get(name, "").strip()
        hint = f"; the last line that names it: {mention[:MAX_MESSAGE]}" if mention else ""
        if source.pattern:
            return f"no line of the output matched {source.pattern}{hint}"
        return f"no line of the output is a JSON object with this key{hint}"


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except (OSError, ValueError):  # missing, or a cyclic link
        return None


def _version(info: os.stat_result | None) -> tuple[int, ...] | None:
    return None if info is None else (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)


def _other_location(name: str, folder: Path, cwd: Path | None) -> str:
    """Return a hint on a file of this name outside the arm's folder."""
    if cwd is not None and cwd != folder and (cwd / name).exists():
        return (
            f", {{folder}}; {cwd / name} is there, but command.cwd makes all arms run in {cwd}, so it may be another "
            f'arm\'s: hand the script "{{folder}}/{name}" to write to, or leave out cwd'
        )
    if os.path.isabs(name):
        return ""
    near = [match.relative_to(folder).as_posix() for match in folder.rglob(Path(name).name)][:3]
    return f"; it wrote {', '.join(near)}" if near else ""


def _parsed(text: bytes, key: str) -> Any:
    """Return the content of a JSON file; of JSON lines, the last object that has the key.

    Raises json.JSONDecodeError.
    """
    try:
        return _loads(text)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise
        rows = [_loads(line) for line in text.splitlines() if line.strip()]
        return next((row for row in reversed(rows) if value_at(row, key) is not MISSING), rows[-1])


def _loads(text: str | bytes) -> Any:
    """JSON with integers of any length: those beyond a float's range become infinite."""
    return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 300 else float(digits))


def value_at(content: Any, key: str) -> Any:
    """Return the value at a dotted key; MISSING if none exists. A key may contain dots."""
    if isinstance(content, Mapping):
        if key in content:
            return content[key]
        for index in (index for index, character in enumerate(key) if character == "."):
            if key[:index] in content:
                value = value_at(content[key[:index]], key[index + 1 :])
                if value is not MISSING:
                    return value
        return MISSING
    if isinstance(content, Sequence) and not isinstance(content, str):
        part, _, rest = key.partition(".")
        if part.lstrip("-").isdigit() and len(part) < 10 and -len(content) <= int(part) < len(content):
            return value_at(content[int(part)], rest) if rest else content[int(part)]
    return MISSING


def last_lines(log: bytes) -> str:
    """Return the last lines of a log in a single line, short enough for a table."""
    lines = [line.strip() for line in plain_lines(log[-8192:].decode(errors="replace")) if line.strip()]
    return " | ".join(lines[-LAST_LINES:])[-MAX_MESSAGE:]


def missing_file(log: str, folder: Path) -> str:
    """Return a path that the program did not find where it ran, but that `folder` has; else ""."""
    for match in _MISSING_METRIC.finditer(log[-8192:]):
        path = match["quoted"] or match["plain"]
        try:
            if not os.path.isabs(path) and (folder / path).exists():
                return path
        except (OSError, ValueError):
            continue
    return ""


def printed_mapping(text: str) -> Mapping[str, Any] | None:
    """The object that a line is, as JSON or as Python prints a dict."""
    text = text.strip()
    if not text.startswith("{"):
        return None
    try:
        content = _loads(text)
    except RecursionError:
        return None
    except ValueError:
        content = _python_dict(text)
    return content if isinstance(content, Mapping) else None


def _python_dict(text: str) -> Any:
    """Return the value of a printed dict such as {'loss': np.float64(0.4)}; None for others."""
    if len(text) > MAX_DICT or not text.endswith("}"):
        return None
    try:
        return _literal(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {str(_literal(key)): _literal(value) for key, value in pairs if key is not None}
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Constant) and not isinstance(node.value, str):
        return node.value
    text = node.value if isinstance(node, ast.Constant) else ast.unparse(node)
    number = parse_number(str(text))
    if number is None:
        return str(text)
    return number if number.percent else number.value
