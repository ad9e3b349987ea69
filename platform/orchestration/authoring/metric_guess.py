"""Where a script's metric may be found, by what its source prints or what a run of it printed."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from branchwise.orchestration.authoring.options import called, constant
from branchwise.trainables.command.numbers import NAME, NumberPattern, compile_pattern, parse_number
from branchwise.trainables.command.output import plain_lines, printed_mapping
from branchwise.trainables.metrics import POSITIVE, RATES

LOGGERS = ("info", "debug", "warning", "log", "error", "critical")  # their first text may be a template of the others
PRINTS = ("print", "write", "echo", "secho", *LOGGERS)
# Names beyond those that imply a metric's scale; of COSTS less is better.
GAINS = ("score", "r2", "reward", "return", "returns", "likelihood", "elbo", "map", "ndcg", "mrr", "psnr", "ssim")
COSTS = ("exploitability", "regret", "cost", "wer", "cer", "divergence", "deviance")
COUNTERS = re.compile(
    "epochs?|iter(ation)?s?|steps?|batch(es)?|episodes?|seeds?|rounds?|runs?|folds?|lr|rate|version|size|eta|cpu|gpu|"
    "memory|samples?|examples?|param(eter)?s|elapsed|fps|it|port|rank|line|layers?|workers?|delta|epsilon|sigma|device"
)
VALUE = object()  # a printed value, among the literal texts of a line
_NAMES = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PERCENT_FORMAT = re.compile(r"%[-+ #0]*[0-9*]*(?:\.[0-9*]+)?[sdiufgeEGr]|%%")
MAX_LINE, MAX_JSON = 2000, 1 << 20
_PRINTED_NUMBER = compile_pattern(rf"(?<![\w.]){NAME}")
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


def rank(line: str, name: str, position: int) -> tuple[int, ...]:
    """Higher for what is measured on held-out data, for rates, and for what is printed later."""
    low = line.lower()
    data = 3 if "test" in low else 2 if re.search(r"val|eval|final|dev", low) else 0 if "train" in low else 1
    time = -1 if re.search(r"time|seconds", name.lower()) else 0
    return (time, data, 1 if maximized(name) else 0, position)


def guess_from_source(tree: ast.Module) -> Metric | None:
    """The likeliest metric that a script prints or writes as JSON; None where none was found."""
    guesses = [*_printed(tree), *_json(tree)]
    return max(guesses, key=lambda metric: metric.rank) if guesses else None


def _printed(tree: ast.Module) -> Iterator[Metric]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) in PRINTS:
            parts: list[Any] = []
            for index, argument in enumerate(_logged(node)):
                parts += [*([" "] if index else []), *_template(argument)]
            yield from _from_template(parts, node.lineno)


def _logged(call: ast.Call) -> list[ast.expr]:
    """What a call prints: of info("loss %s", loss) the text with its value filled in."""
    texts = [index for index, node in enumerate(call.args) if isinstance(constant(node), str)]
    if called(call) not in LOGGERS or not texts or len(call.args) == texts[0] + 1:
        return call.args
    template, values = call.args[texts[0]], call.args[texts[0] + 1 :]
    if _PERCENT_FORMAT.search(text := str(constant(template))):
        return [ast.BinOp(left=template, op=ast.Mod(), right=ast.Tuple(elts=values, ctx=ast.Load()))]
    if _BRACES.search(text):  # loguru
        return [ast.Call(func=ast.Attribute(value=template, attr="format", ctx=ast.Load()), args=values, keywords=[])]
    return call.args


def _template(node: ast.expr) -> list[Any]:
    """A printed expression as literal texts and VALUEs."""
    if isinstance(node, ast.JoinedStr):
        return [part.value if isinstance(part, ast.Constant) else VALUE for part in node.values]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and isinstance(text := constant(node.left), str):
        return _split(text, _PERCENT_FORMAT, "%%")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_template(node.left), *_template(node.right)]
    if isinstance(node, ast.Call) and called(node) == "format" and isinstance(node.func, ast.Attribute):
        text = constant(node.func.value)
        return _split(text, _BRACES, "{{") if isinstance(text, str) else [VALUE]
    return [VALUE]


def _split(text: str, fields: re.Pattern[str], literal: str) -> list[Any]:
    parts: list[Any] = []
    end = 0
    for match in fields.finditer(text):
        parts.append(text[end : match.start()])
        parts.append(match[0][0] if match[0] in (literal, "}}") else VALUE)
        end = match.end()
    return [*parts, text[end:]]


def _from_template(parts: Sequence[Any], line: int, *, any_name: bool = False) -> Iterator[Metric]:
    """A metric for each value after the name of one; of a fraction, the rate behind it.

    Args:
        parts: Texts and VALUEs of a line.
        line: Its number.
        any_name: Whether any name counts, not only those of known metrics.
    """
    text = "".join(part if isinstance(part, str) else "\0" for part in parts)
    for match in re.finditer("\0", text):
        before = text[: match.start()].rpartition("\n")[2]
        names = metric_names(before)
        nearest = _NAMES.findall(before)[-1:]
        is_certain = bool(names) and not re.search(r"(?i)\b(learning|lr)[ _]rate\W*$", before)
        if not is_certain:
            names = nearest if any_name and nearest and not _is_counter(nearest[0]) else []
        if not names:
            continue
        name = names[-1]
        after = text[match.end() : match.end() + 2]
        begin = before.rindex(name)
        between = before[begin:]
        fraction = after.lstrip().startswith("/") or between.rstrip().endswith("/")
        if fraction or len(between) > 60 or between.count("\0") > 3:
            continue  # 9332/13036: the number of hits
        if re.search(r"[A-Za-z]{3,}", between[len(name) :]):
            continue  # it is another word's value
        key = re.sub(r"\W+", "_", name.lower())
        prefix = re.search(r"((?:[A-Za-z]+[ _])?)$", before[:begin])
        context = (prefix[1] if prefix else "") + between
        percent = after.lstrip().startswith("%")
        pattern = _escaped(context.lstrip()) + f"(?P<{key}>{NAME})"
        yield Metric(
            key=key,
            source={"pattern": pattern},
            maximize=maximized(name),
            percent=percent,
            is_certain=is_certain,
            rank=rank(text, name, line) if is_certain else (-2, 0, 0, line),
        )


def _escaped(text: str) -> str:
    """A regular expression for a printed text; blanks may be several."""
    parts = [re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", part) for part in text.split("\0")]
    return NAME.join(re.sub(r"\s+", r"\\s+" if "\t" in text else " ", part) for part in parts)


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
                    rank=rank(key + " test" * bool(writes), key, node.lineno),
                )


def guesses_from_run(log: str, folder: Path) -> list[Metric]:
    """The metrics that a run may have printed, or written into JSON files: each once, the likeliest first."""
    guesses: list[Metric] = []
    for number, line in enumerate(line for text in log.splitlines() for line in plain_lines(text)):
        if line.startswith("--- ") or len(line) > MAX_LINE:
            continue
        content = printed_mapping(line)
        if content is not None:
            guesses += _from_keys(content, {}, number)
        else:
            guesses += _from_printed(line, number)
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


def _from_printed(line: str, number: int) -> Iterator[Metric]:
    parts: list[Any] = []
    values: list[float] = []
    end = 0
    for match in _PRINTED_NUMBER.finditer(line):
        value = parse_number(match[0])
        if value is not None:
            parts += [line[end : match.start()], VALUE]
            values.append(float(value.value))
            end = match.end()
    for metric in _from_template([*parts, line[end:]], number, any_name=True):
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
