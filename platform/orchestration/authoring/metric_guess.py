"""Guesses at a script's metric, by what its source prints or what a run of it printed."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from branchwise.orchestration.authoring.options import called, constant
from branchwise.trainables.command.numbers import NAME, NUMBER, NumberPattern, compile_pattern, parse_number
from branchwise.trainables.command.output import plain_lines, printed_mapping
from branchwise.trainables.metrics import POSITIVE, RATES

LOGGERS = ("info", "debug", "warning", "log", "error", "critical")  # their first text may be a template of the others
PRINTS = ("print", "write", "echo", "secho", *LOGGERS)
# Names beyond those that imply a metric's scale; of COSTS less is better.
REWARDS = ("reward", "rewards", "rew", "return", "returns")
GAINS = (*REWARDS, "score", "r2", "likelihood", "elbo", "map", "ndcg", "mrr", "psnr", "ssim")
COSTS = ("exploitability", "regret", "cost", "wer", "cer", "divergence", "deviance")
COUNTERS = re.compile(
    "epochs?|iter(ation)?s?|steps?|batch(es)?|episodes?|seeds?|rounds?|runs?|folds?|lr|rate|version|size|eta|cpu|gpu|"
    "memory|samples?|examples?|param(eter)?s|elapsed|fps|it|port|rank|line|layers?|workers?|delta|epsilon|sigma|device"
)
VALUE = "\0"  # stands for a printed value in the text of a line
_NAMES = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PERCENT_FORMAT = re.compile(r"%[-+ #0]*[0-9*]*(?:\.[0-9*]+)?[sdiufgeEGr]|%%")
MAX_LINE, MAX_JSON = 2000, 1 << 20
MAX_TEMPLATES = 500  # of printed lines
_PRINTED_NUMBER = compile_pattern(rf"(?<![\w.]){NUMBER}")
_DATA_SET = re.compile(
    r"(?<![a-z])(?:(?P<test>test)|(?P<validation>val(?:id(?:ation)?)?(?![a-z])|eval|final|dev(?![a-z]))|(?P<train>train))"
)
_BRACES = re.compile(r"\{\{|\}\}|\{[^{}]*\}")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric as a space declares it. `rank` is higher for the likelier metric."""

    key: str
    source: Mapping[str, str]  # the key `metric` of a space
    maximize: bool
    percent: bool = False
    is_certain: bool = True  # by its name; of any other the direction is a guess
    rank: tuple[int, ...] = ()


def metric_names(text: str) -> list[str]:
    """Return the words of `text` that name a metric."""
    return [name for name in _NAMES.findall(text) if _is_metric_name(name)]


def _is_metric_name(name: str) -> bool:
    parts = _parts(name)
    learning_rate = "rate" in parts and parts[:1] in (["learning"], ["lr"])
    return (
        any(part in (*RATES, *POSITIVE, *GAINS, *COSTS) for part in parts) and "it" not in parts and not learning_rate
    )


def maximized(name: str) -> bool:
    return not any(part in (*POSITIVE, *COSTS) for part in _parts(name))


def _is_counter(name: str) -> bool:
    return any(COUNTERS.fullmatch(part) for part in _parts(name))


def _parts(name: str) -> list[str]:
    return re.findall(r"[a-z]+[0-9]*", name.lower())


def rank(text: str, name: str, position: int) -> tuple[int, ...]:
    """Higher for held-out data, for rates, and for numbers printed later.

    Args:
        text: What is printed before the value. The last data set that it names is the value's.
        name: The name of the metric.
        position: The number of the line.
    """
    other_names = re.sub(r"\w+_\w+", "", text.lower())  # the train of train_loss does not apply to an acc after it
    sets = [match.lastgroup for match in _DATA_SET.finditer(f"{other_names} {name.lower()}")]
    data = {"test": 3, "validation": 2, "train": 0}.get(str(sets[-1]), 1) if sets else 1
    time = -1 if re.search(r"time|seconds", name.lower()) else 0
    return (time, data, 1 if maximized(name) else 0, position)


def guess_from_source(tree: ast.Module) -> Metric | None:
    """The likeliest metric that a script prints or writes as JSON; None where none was found."""
    guesses = [*_printed(tree), *_json(tree)]
    return max(guesses, key=lambda metric: metric.rank) if guesses else None


def _printed(tree: ast.Module) -> Iterator[Metric]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) in PRINTS:
            yield from _from_template(" ".join(map(_template, _printed_arguments(node))), node.lineno)


def _printed_arguments(call: ast.Call) -> list[ast.expr]:
    """The arguments that a call prints: of info("loss %s", loss) the filled-in text."""
    texts = [index for index, node in enumerate(call.args) if isinstance(constant(node), str)]
    if called(call) not in LOGGERS or not texts or len(call.args) == texts[0] + 1:
        return call.args
    template, values = call.args[texts[0]], call.args[texts[0] + 1 :]
    if _PERCENT_FORMAT.search(text := str(constant(template))):
        return [ast.BinOp(left=template, op=ast.Mod(), right=ast.Tuple(elts=values, ctx=ast.Load()))]
    if _BRACES.search(text):  # loguru
        return [ast.Call(func=ast.Attribute(value=template, attr="format", ctx=ast.Load()), args=values, keywords=[])]
    return call.args


def _template(node: ast.expr) -> str:
    """The text that an expression prints, with a VALUE for each part that is computed."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and isinstance(text := constant(node.left), str):
        return _PERCENT_FORMAT.sub(_filled, text)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + _template(node.right)
    if isinstance(node, ast.Call) and called(node) == "format" and isinstance(node.func, ast.Attribute):
        text = constant(node.func.value)
        return _BRACES.sub(_filled, text) if isinstance(text, str) else VALUE
    return VALUE


def _filled(match: re.Match[str]) -> str:
    """The VALUE of a format's field, or the character that a doubled one prints."""
    return match[0][0] if match[0] in ("%%", "{{", "}}") else VALUE


def _from_template(text: str, line: int, *, any_name: bool = False, later: Sequence[str] = ()) -> Iterator[Metric]:
    """A metric for each value after a metric's name; of a fraction, the rate behind it.

    Args:
        text: A line, with VALUEs in it.
        line: Its number.
        any_name: Whether any name counts, not only those of known metrics.
        later: The texts of later lines, which the pattern must not match.
    """
    for match in re.finditer(VALUE, text):
        before = text[: match.start()].rpartition("\n")[2]
        names, nearest = metric_names(before), _NAMES.findall(before)[-1:]
        is_certain = bool(names) and not re.search(r"(?i)\b(learning|lr)[ _]rate\W*$", before)
        if is_certain and re.search(r"[A-Za-z]{3,}", before[before.rindex(names[-1]) + len(names[-1]) :]):
            is_certain = False  # the value of another name
        if not is_certain:
            names = nearest if any_name and nearest and not _is_counter(nearest[0]) else []
        if not names:
            continue
        name = names[-1]
        after = text[match.end() : match.end() + 2]
        begin = before.rindex(name)
        between = before[begin:]
        fraction = after.lstrip().startswith("/") or between.rstrip().endswith("/")
        if fraction or len(between) > 60 or between.count(VALUE) > 3:
            continue  # 9332/13036: the number of hits
        key = re.sub(r"\W+", "_", name.lower())
        percent = after.lstrip().startswith("%")
        pattern = _escaped(_context(before, begin, later)) + f"(?P<{key}>{NAME})"
        yield Metric(
            key=key,
            source={"pattern": pattern},
            maximize=maximized(name),
            percent=percent,
            is_certain=is_certain,
            rank=rank(before, name, line) if is_certain else (-2, 0, 0, line),
        )


def _context(before: str, begin: int, later: Sequence[str]) -> str:
    """The end of the text before a value, from its name or earlier, that identifies the value.

    The name is at `begin`. A pattern reads the first match in the last matching line. So `acc
    (...)` reads the wrong value of "train: acc 0.5, test: acc 0.7", and of "test: acc 0.7" where a
    line "train: acc 0.5" follows.
    """
    prefix = re.search(r"[A-Za-z]+[ _]$", before[:begin])
    starts = [match.start() for match in re.finditer(r"(?<!\w)\w|\0", before[:begin])]
    for start in [prefix.start() if prefix else begin, *reversed(starts)]:
        context = before[start:].lstrip()
        is_first = f"{before}{VALUE}".index(f"{context}{VALUE}") == len(before) - len(context)
        if is_first and not any(f"{context}{VALUE}" in other for other in later):
            return context
    return before


def _escaped(text: str) -> str:
    """A regular expression for a printed text with a varying number of blanks.

    `{number}` matches the blanks of a padded number, which another value may change. A column of a
    table is as wide as its longest entry.
    """
    parts = []
    for part in text.split(VALUE):
        stripped = part.rstrip(" ")
        blanks, last = len(part) - len(stripped), stripped[-1:] or "0"
        keeps_blank = last.isalnum() or last == "_" or (blanks == 1 and last not in "=([")
        parts.append(stripped + " " if blanks and keeps_blank else stripped)
    parts = [re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", part) for part in parts]
    return NAME.join(re.sub(r"\s{2,}|\t|\s(?=\\\|)", r"\\s+", part) for part in parts)


def _json(tree: ast.Module) -> Iterator[Metric]:
    files = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"[\w./-]+\.json", node.value)
    ]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or called(node) not in ("dump", "dumps", "write_text") or not node.args:
            continue
        content = node.args[0]
        if not isinstance(content, ast.Dict):
            continue
        for key in (constant(key) for key in content.keys if key is not None):
            if isinstance(key, str) and _is_metric_name(key):
                writes = called(node) == "dump" and files
                source = {"file": files[-1].rpartition("/")[2], "key": key} if writes else {"key": key}
                yield Metric(
                    key=key,
                    source=source,
                    maximize=maximized(key),
                    rank=rank("test " * bool(writes) + key, key, node.lineno),
                )


def guesses_from_run(log: str, folder: Path) -> list[Metric]:
    """The metrics that a run may have printed, or written into JSON files.

    Each once, the likeliest first.
    """
    guesses: list[Metric] = []
    templates: dict[str, tuple[int, str]] = {}  # the last line of each text, its numbers aside
    for number, line in enumerate(line for text in log.splitlines() for line in plain_lines(text)):
        if line.startswith("--- ") or len(line) > MAX_LINE:
            continue
        content = printed_mapping(line)
        if content is not None:
            guesses += _from_keys(content, {}, number)
        else:
            text = _PRINTED_NUMBER.sub(lambda match: match[0] if parse_number(match[0]) is None else VALUE, line)
            templates.pop(text, None)
            templates[text] = number, line
    recent = list(templates)[-MAX_TEMPLATES:]
    for index, text in enumerate(recent):
        guesses += _from_printed(*templates[text], text, recent[index + 1 :])
    for file in sorted(folder.rglob("*.json")) if folder.is_dir() else []:
        try:
            content = json.loads(file.read_bytes()) if file.stat().st_size < MAX_JSON else None
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(content, Mapping):
            guesses += _from_keys(content, {"file": file.relative_to(folder).as_posix()}, 1 << 20)
    best: dict[str, Metric] = {}
    for metric in sorted(guesses, key=lambda metric: metric.rank, reverse=True):
        best.setdefault(metric.key.lower(), metric)
    return list(best.values())


def _from_printed(number: int, line: str, text: str, later: Sequence[str]) -> Iterator[Metric]:
    for metric in _from_template(text, number, any_name=True, later=later):
        groups = NumberPattern(metric.source["pattern"], metric.key).search(line)
        value = groups[metric.key].value if groups and metric.key in groups else None
        if isinstance(value, float) or (metric.is_certain and isinstance(value, int)):
            yield replace(metric, percent=metric.percent or _in_percent(metric.key, value))


def _from_keys(
    content: Mapping[str, Any], source: Mapping[str, str], number: int, prefix: str = ""
) -> Iterator[Metric]:
    for key, value in content.items():
        full = f"{prefix}{key}"
        if isinstance(value, Mapping) and prefix.count(".") < 3:
            yield from _from_keys(value, source, number, f"{full}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            is_certain = _is_metric_name(str(key))
            if not is_certain and (isinstance(value, int) or _is_counter(str(key))):
                continue
            yield Metric(
                key=full,
                source={**source, "key": full},
                maximize=maximized(str(key)),
                percent=_in_percent(str(key), value),
                is_certain=is_certain,
                rank=rank(full, str(key), number) if is_certain else (-2, 0, 0, number),
            )


def _in_percent(name: str, value: float) -> bool:
    return any(part in RATES for part in _parts(name)) and 1 < value <= 100
