"""Columns by name: settings and metrics may share a name, and exports add prefixes."""

from __future__ import annotations

import difflib
import re
from typing import Literal

from branchwise.analysis.importers.run_table import Kind, RunTable, listed
from branchwise.analysis.records.damage import RunFolderError

Role = Literal["setting", "metric"]

_SETTING = re.compile(r"(?:config|params?|hparams|hyper_?parameters|parameters|args)[./](?=.)|params_(?=.)")
_METRIC = re.compile(r"(?:metrics?|summary)[./](?=.)")
_OTHER = re.compile(r"(?:tags|attrs|user_attrs)[./](?=.)|user_attrs_(?=.)")
MAX_OFFERED = 20


def kind_of(runs: RunTable, name: str) -> Kind | None:
    """Return whether a column holds a setting or a metric, by the tool or its prefix, or None."""
    if name in runs.kinds:
        return runs.kinds[name]
    return "setting" if _SETTING.match(name) else "metric" if _METRIC.match(name) else None


def short_name(name: str) -> str:
    """A column's name without the prefix by which an export marks settings or metrics."""
    for prefix in (_SETTING, _METRIC, _OTHER):
        if match := prefix.match(name):
            return name[match.end() :]
    return name


def find_column(runs: RunTable, text: str, role: Role, source: str) -> str:
    """Return the column that `text` means as a setting or as a metric.

    Where a setting is meant, a setting precedes a metric of the same name, and vice versa. Then follow the column of
    exactly that name, that without an export's prefix, and that with `text` as its last part. Raises
    RunFolderError where no column or multiple columns match.
    """
    for candidates in _tiers(runs, text, role):
        if len(candidates) > 1:
            raise RunFolderError(f"{source}: {text} could be {listed(candidates)}; write the whole name")
        if candidates:
            (name,) = candidates
            if name in runs.repeated:
                raise RunFolderError(
                    f"{source} has several columns {name} with different values; rename all but one of them"
                )
            return name
    raise RunFolderError(f"{source} has no column {text}; {_offer(runs, text)}")


def _tiers(runs: RunTable, text: str, role: Role) -> list[list[str]]:
    plain = text.replace("/", ".")
    named = {name: short_name(name).replace("/", ".") for name in runs.names}
    kinds = {name: kind_of(runs, name) for name in runs.names}
    other: Role = "metric" if role == "setting" else "setting"
    return [
        [text] if kinds.get(text) == role else [],
        [name for name, short in named.items() if short == plain and kinds[name] == role],
        [text] if text in named else [],
        [name for name, short in named.items() if short == plain and kinds[name] is None],
        [name for name, short in named.items() if short == plain and kinds[name] == other],
        [name for name, short in named.items() if short.endswith(f".{plain}") and kinds[name] != other],
        [name for name, short in named.items() if short.endswith(f".{plain}")],
    ]


def _offer(runs: RunTable, text: str) -> str:
    names = runs.names
    if len(names) <= MAX_OFFERED:
        return f"there are {', '.join(names)}"
    short = {short_name(name).lower(): name for name in names}
    close = [name for name in names if text.lower() in name.lower()]
    close += [short[match] for match in difflib.get_close_matches(text.lower(), list(short), n=MAX_OFFERED)]
    chosen = list(dict.fromkeys([*close, *names]))[:MAX_OFFERED]
    return f"there are {', '.join(chosen)} and {len(names) - len(chosen)} more"
