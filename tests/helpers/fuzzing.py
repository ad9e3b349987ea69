"""Real spaces, mutated: likely and unlikely errors of a user. `examine` requests a dry run."""

from __future__ import annotations

import contextlib
import copy
import io
import random
import signal
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from branchwise.commands import run_sweep
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.space import Space, load_space

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 5.0  # of the processor: what other programs take meanwhile does not count
HANG_SECONDS = 60
MAX_LETTERS = 1000  # of a refusal
SPACES = [*sorted((ROOT / "search_spaces").glob("*.yaml")), *sorted((ROOT / "tests/data").glob("*.yaml"))]
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 10**6, 2**63 - 1, 2**70, 0.0, -0.0, 0.5, 1e-300, 1e300, float("nan"), float("inf"),
    "", " ", "off", "010", "1:30", "\x1b[31mred", "\ud800", "\0", "a" * 5000, "../up", "[/]", "é", "s3://k:secret@b/x",
    [], [1], ["x"], [[[[]]]], [0.1] * 500, {}, {"x": 1}, {"off": {"anchor_weight": 0}}, "none", "dash", "surface",
]  # fmt: skip
STORAGES = [
    "s3://", "s3://key:secret@bucket/x", "s3://key:secret@b?x", "s3:/key:secret@b", "s3:key:secret@b", "mock:///x", "x://",
    "ray://me:secret@head:1", "head:6379?token=secret@x", "http://me:secret@head", "auto:secret@1", "hdfs://", "://",
    "file://x", "/proc/nowhere", "/dev/null", "\udcff", "teachers", "..",
]  # fmt: skip
FRAGMENTS = [
    "!!bool abc", "!!set {x}", "&a ", "*a", "%TAG ! x:\n---\n", "010", "1:30", "9" * 4000, '"\\ud800"', "[" * 60, "{",
    "}", "- ", ": ", "? ", "\t", "\n", "#", "'", '"', "|\n  x", "<<: {a: 1}", "\x1b[2J", "\0", "\x85", "---\n", "...\n",
    "0x" + "f" * 99, ".nan", "~", "a: 1\na: 2\n", "[" + "1," * 30_000 + "]",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """A space and the `--set` that are laid over it; `how` states what was done to them."""

    content: bytes
    overrides: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    how: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`finding` is empty where all is as promised."""

    outcome: str  # "planned" or "refused"
    seconds: float
    finding: str = ""


def mutated(seed: str) -> Case:
    """The case of this seed."""
    draw = random.Random(seed)
    tree, text = draw.choice(_spaces())
    how = draw.choice(["text", "tree", "set", "components", "tree and set", "arguments"])
    if how == "text":
        return Case(content=_mutate_text(draw, text), how=how)
    changed = copy.deepcopy(tree)
    if "tree" in how:
        for _ in range(draw.randint(1, 2)):
            _mutate_tree(draw, changed)
    if how == "components":
        _mutate_components(draw, changed)
    return Case(
        content=yaml.safe_dump(changed, sort_keys=False).encode(errors="surrogatepass"),
        overrides=tuple(_override(draw, tree) for _ in range(draw.randint(1, 2))) if "set" in how else (),
        arguments=_arguments(draw) if how == "arguments" else (),
        how=how,
    )


@lru_cache
def _spaces() -> list[tuple[dict[str, Any], bytes]]:
    """Each real space, resolved and as it is written."""
    return [(yaml.safe_load(load_space(file).resolved()), file.read_bytes()) for file in SPACES]


def _mutate_text(draw: random.Random, text: bytes) -> bytes:
    content = bytearray(text)
    for _ in range(draw.randint(1, 4)):
        at, length = draw.randrange(len(content) + 1), draw.randint(0, 12)
        change = draw.choice(["insert", "delete", "flip", "repeat", "swap"])
        if change == "insert":
            content[at:at] = draw.choice(FRAGMENTS).encode()
        elif change == "delete":
            del content[at : at + length]
        elif change == "flip" and at < len(content):
            content[at] ^= 1 << draw.randrange(8)
        elif change == "repeat":
            content[at:at] = content[at : at + length] * draw.randint(1, 3)
        else:
            lines = bytes(content).split(b"\n")
            draw.shuffle(lines)
            content = bytearray(b"\n".join(lines)) if draw.random() < 0.2 else content
    return bytes(content)


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _mutate_tree(draw: random.Random, tree: dict[str, Any]) -> None:
    *path, last = draw.choice(list(_places(tree)) or [("name",)])
    node: Any = tree
    for key in path:
        node = node[key]
    change = draw.choice(["odd", "near", "drop", "rename", "add", "wrap"])
    if change == "odd":
        node[last] = draw.choice(ODD)
    elif change == "near" and isinstance(node[last], int | float):
        node[last] = draw.choice([node[last] * 2, -node[last], node[last] + 1, node[last] / 3, node[last] * 10**6])
    elif change == "drop":
        del node[last]
    elif change == "wrap":
        node[last] = draw.choice([[node[last]], {"x": node[last]}, str(node[last])])
    elif isinstance(node, dict):
        value = node.pop(last) if change == "rename" else draw.choice(ODD)
        node[draw.choice(["x", f"{last}s", "off", "method", "", "\x1b[31m", "a.b", "levels"])] = value


def _near(draw: random.Random, value: Any) -> Any:
    """A value of the same kind."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return draw.choice([value, "uniform", "learned", "min_snr", "dash", "scratch", "unipc"])
    half = value // 2 if isinstance(value, int) else value / 2
    return draw.choice([value, 2 * value, half, half, 0, 1, value + 1, -value])


def _mutate_components(draw: random.Random, tree: dict[str, Any]) -> None:
    """Other components of real settings: equal, overlapping and conflicting ones among them."""
    numbers_by_key = {key: value for key, value in tree["method"].items() if isinstance(value, int | float | str)}
    numbers_by_key |= {f"method.{key}": value for key, value in numbers_by_key.items()} | {
        "train.steps": tree["train"]["steps"]
    }
    if "evaluate" in tree:
        numbers_by_key |= {f"evaluate.{key}": tree["evaluate"][key] for key in ("samples", "sampler", "sampler_steps")}

    def patch() -> dict[str, Any]:
        keys = draw.sample(list(numbers_by_key), draw.choice([1, 1, 2]))
        return {key: _near(draw, numbers_by_key[key]) for key in keys}

    components: dict[str, Any] = {}
    for name in draw.sample(["x", "y", "z", "w", "v", "full"], draw.randint(1, 3)):
        components[name] = {"off": patch()}
        if draw.random() < 0.3:
            key = draw.choice(list(numbers_by_key))
            values = [_near(draw, numbers_by_key[key]), _near(draw, numbers_by_key[key]), numbers_by_key[key]]
            levels = {level: {key: value} for level, value in zip("abc", values, strict=True)}
            components[name] = {"reference": "a", "levels": levels}
    kind = draw.choice(["factorial", "leave_one_out"])
    tree["design"] = {"kind": kind, "components": components, "blocks": draw.choice([1, 3, 1000])}
    if draw.random() < 0.3:
        tree["design"]["baselines"] = ["scratch"]


def _override(draw: random.Random, tree: dict[str, Any]) -> str:
    places = list(_places(tree))
    if draw.random() < 0.5:
        path, value = _numeric(draw, tree, places)
        return f"{'.'.join(map(str, path))}={_near(draw, value)}"
    path = draw.choice(places)
    key = ".".join(map(str, path if draw.random() < 0.8 else (*path, draw.choice(["x", "", "\x1b[0m", "a" * 3000]))))
    text = draw.choice([*FRAGMENTS, *(repr(item) for item in ODD)])
    return draw.choice([f"{key}={text}", f"{key}={text}", key, f"={text}", f"{key}=={text}"])


def _numeric(draw: random.Random, tree: Any, places: list[tuple[Any, ...]]) -> tuple[tuple[Any, ...], Any]:
    """The path of a number that is no part of a list, and the number."""
    matches = []
    for path in places:
        node = tree
        for key in path:
            node = node[key]
        if isinstance(node, int | float) and all(isinstance(key, str) for key in path):
            matches.append((path, node))
    return draw.choice(matches)


def _arguments(draw: random.Random) -> tuple[str, ...]:
    option = draw.choice(["--name", "--storage", "--address", "--resume", "--status", "--nmae", "stray"])
    return (option, draw.choice([*STORAGES, *(str(item) for item in ODD)]))


class HangError(BaseException):
    """A case without a result; a BaseException, so that it is not handled as a storage failure."""


def examine(case: Case, scratch: Path) -> Verdict:
    """Request a dry run of the case as a user would, and return its result."""
    file = scratch / "space.yaml"
    file.write_bytes(case.content)
    # No argument of a command line holds a NUL; what is no UTF-8 arrives as lone surrogates.
    sets = [argument for override in case.overrides for argument in ("--set", override.replace("\0", ""))]
    arguments = ["--space", str(file), "--storage", str(scratch / "runs"), "--dry-run", *sets, *case.arguments]
    out, err = io.StringIO(), io.StringIO()
    started = time.process_time()
    signal.signal(signal.SIGALRM, _hang)
    signal.alarm(HANG_SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_sweep.main(arguments)
    except BaseException:
        return Verdict(outcome="crashed", seconds=0, finding=traceback.format_exc(limit=-3))
    finally:
        signal.alarm(0)
    seconds = time.process_time() - started
    finding = f"took {seconds:.1f} s" if seconds > LIMIT_SECONDS else ""
    if list(scratch.iterdir()) != [file]:
        finding = "something was written"
    if code == 2:
        finding = finding or _unexpected_output(out.getvalue(), err.getvalue())
        return Verdict(outcome="refused", seconds=seconds, finding=finding)
    if code or "\x1b" in out.getvalue():
        return Verdict(outcome="planned", seconds=seconds, finding=f"exit code {code}, or an escape on the terminal")
    return Verdict(outcome="planned", seconds=seconds, finding=finding or _same_rows(file, tuple(sets[1::2])))


def _hang(*_: object) -> None:
    raise HangError


def _unexpected_output(out: str, err: str) -> str:
    """The defect of a refusal: it must be a printable line on stderr, of a few hundred letters, without a secret.

    A plan that names missing resources of this machine is a refusal, too.
    """
    if not err and "\nnot here " in out and all(line.isprintable() for line in out.splitlines()):
        return ""
    complete = err.removesuffix("\n")
    if out or not complete.isprintable() or len(complete) > MAX_LETTERS or not complete.startswith("run_sweep: "):
        return f"no sentence: {out[:200]!r} {err[:200]!r}"
    return "a secret is repeated" if "secret@" in complete and "://" in complete else ""


def _same_rows(file: Path, overrides: tuple[str, ...]) -> str:
    """Rows of an accepted design that have the same settings; empty if none exist."""
    try:
        space: Space = load_space(file, overrides)
    except UserError as error:
        return f"accepted at first, then: {error}"
    rows: dict[str, str] = {}
    for cell in space.design.cells(space.method):
        settings = space.method.patched(cell.patch).model_dump_json()
        if settings in rows:
            return f"the rows {rows[settings]} and {cell.cell} are the same"
        rows[settings] = cell.cell
    return ""
