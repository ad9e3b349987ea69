"""A table of runs as a design: which columns are components, what makes a block, what is missing or doubled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from branchwise.analysis.declared.factors import OFF, ON, Factor, cell_of
from branchwise.analysis.declared.outcomes import Better, ScaleName
from branchwise.analysis.elsewhere.sources import SETTING, STATE
from branchwise.analysis.records.damage import RunFolderError

OFF_WORDS = ("", "0", "false", "none", "off", "no", "null", "nan")
ENDED = ("finished", "complete", "completed", "terminated", "done", "success")  # words for a run that came to its end
MOST_LEVELS = 12
BETTER: dict[str, Better] = {"minimize": "lower", "maximize": "higher"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user says of a table of runs.

    components: columns whose values are compared. block: the column of the training seed, which runs of different cells
    share. value: the column of the result. direction: minimize or maximize. scale: None for one that suits the values.
    reference, full: of a component, the value that the others are compared with and that of the whole method.
    """

    components: Sequence[str]
    block: str
    value: str
    direction: str
    scale: ScaleName | None = None
    reference: Mapping[str, str] | None = None
    full: Mapping[str, str] | None = None
    claims: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Arranged:
    """Arms, a row each, and what they vary; `notes` say what a reader must know of the table."""

    factors: tuple[Factor, ...]
    arms: pd.DataFrame  # arm, cell, block, seed, status, error, value, component.<name>
    scale: ScaleName
    reason: str  # for the scale
    notes: tuple[str, ...]


def arrange(runs: pd.DataFrame, asked: Asked, source: str) -> Arranged:
    """Checks that `runs` are an ablation and names its cells. Raises RunFolderError with one sentence when not."""
    if asked.direction not in BETTER:
        raise RunFolderError(
            f"{source}: the direction is missing: say --direction maximize or minimize, since whether more is better "
            "cannot be guessed"
        )
    runs = runs.reset_index(drop=True)
    if not asked.components:
        raise RunFolderError(f"{source}: name the columns to compare with --components; {_offer(runs, asked)}")
    words = (*asked.components, asked.block, asked.value)
    names = {word: _column(runs, word, source) for word in words}
    if len(set(names.values())) < len(words):
        raise RunFolderError(f"{source}: components, block and value must be different columns")
    components = {word.rpartition(".")[2]: names[word] for word in asked.components}
    factors = tuple(_factor(name, runs[column], asked, source) for name, column in components.items())
    values, lost = _values(runs, names[asked.value], source)
    blocks = _blocks(runs, names[asked.block], source)
    levels = [
        {factor.name: _level(factor, runs[components[factor.name]].iloc[i]) for factor in factors}
        for i in range(len(runs))
    ]
    arms = pd.DataFrame({"cell": [cell_of(factors, row) for row in levels], "block": blocks})
    arms["arm"] = [f"{cell}-b{block}" for cell, block in zip(arms["cell"], arms["block"], strict=True)]
    arms["value"] = values
    arms["status"] = ["failed" if why else "done" for why in lost]
    arms["error"] = [why or None for why in lost]
    for factor in factors:
        told = [row[factor.name] for row in levels]
        arms[f"component.{factor.name}"] = [level == ON for level in told] if factor.is_switch else told
    _refuse_doubled(runs, arms, names, source)
    _refuse_unshared(arms, names[asked.block], source)
    scale, reason = _scale(arms.loc[arms["status"] == "done", "value"], asked)
    seeds = dict(zip(blocks, runs[names[asked.block]].map(_text), strict=True))
    arms["seed"] = [int(seeds[b]) if seeds[b].lstrip("-").isdigit() else b for b in blocks]
    notes = (*_other_settings(runs, arms, names), *_unlike_blocks(arms))
    return Arranged(factors=factors, arms=arms, scale=scale, reason=reason, notes=notes)


def _column(runs: pd.DataFrame, word: str, source: str) -> str:
    """The column called `word`, or whose name ends in it after a dot, as a setting's does."""
    if word in runs:
        return word
    ending = [str(column) for column in runs if str(column).rpartition(".")[2] == word or str(column) == SETTING + word]
    if len(ending) == 1:
        return ending[0]
    among = f"it could be {', '.join(ending)}" if ending else f"there are {', '.join(map(str, runs.columns))}"
    raise RunFolderError(f"{source} has no column {word}; {among}")


def _offer(runs: pd.DataFrame, asked: Asked) -> str:
    """The columns that few values make vary, as candidates for components."""
    found = []
    for column in runs:
        told = list(dict.fromkeys(runs[column].map(_text)))
        if 2 <= len(told) <= min(MOST_LEVELS, len(runs) // 2) and column not in (asked.block, asked.value, STATE):
            found.append(f"{column} ({', '.join(word or 'empty' for word in told)})")
    return f"these differ between runs: {'; '.join(found)}" if found else "no column differs between runs"


def _text(value: Any) -> str:
    """A value of a table as a word; numbers that are equal give equal words."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return f"{number:.10g}" if math.isfinite(number) else text


def _factor(name: str, column: pd.Series, asked: Asked, source: str) -> Factor:
    told = list(dict.fromkeys(column.map(_text)))
    if len(told) < 2:
        raise RunFolderError(f"{source}: {name} is {told[0] or 'empty'} in every run, so nothing can be said of it")
    if len(told) > MOST_LEVELS:
        raise RunFolderError(f"{source}: {name} has {len(told)} values, which is more than {MOST_LEVELS} levels")
    reference, full = ((one or {}).get(name) for one in (asked.reference, asked.full))
    for option, word in (("--reference", reference), ("--full", full)):
        if word is not None and _text(word) not in told:
            raise RunFolderError(f"{source}: {option} {name}={word}: {name} is one of {', '.join(told)}")
    numbers = _numbers(told)
    if numbers:
        told = [word for _, word in sorted(zip(numbers, told, strict=True))]
    off = [word for word in told if word.lower() in OFF_WORDS]
    if reference is None and len(off) != 1 and not numbers:
        raise RunFolderError(
            f"{source}: which of {', '.join(told)} is {name} compared with? Say --reference {name}={told[0]}"
        )
    first = _text(reference) if reference is not None else off[0] if len(off) == 1 else told[0]
    others = [word for word in told if word != first]
    last = _text(full) if full is not None else others[-1]
    if last == first:
        raise RunFolderError(f"{source}: {name} needs two different values for --reference and --full")
    if len(told) == 2 and first.lower() in OFF_WORDS:
        return Factor(name=name)
    shown = tuple(word or "none" for word in told)
    doses = tuple(sorted(numbers))
    return Factor(name=name, levels=shown, reference=first or "none", full=last or "none", doses=doses)


def _numbers(told: Sequence[str]) -> list[float]:
    """The words as numbers; empty unless each is one."""
    try:
        found = [float(word) for word in told]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) else []


def _level(factor: Factor, value: Any) -> str:
    word = _text(value)
    if factor.is_switch:
        return OFF if word.lower() in OFF_WORDS else ON
    return word or "none"


def _values(runs: pd.DataFrame, column: str, source: str) -> tuple[list[float], list[str]]:
    """The results, NaN where a run has none, and why it has none."""
    values, lost = [], []
    for i, value in enumerate(runs[column]):
        word, state = _text(value), str(runs[STATE].iloc[i]).lower() if STATE in runs else ENDED[0]
        try:
            number = float(value if word else "nan")
        except ValueError:
            raise RunFolderError(f"{source}, run {i + 1}: {column} is {word!r}, which is no number") from None
        why = "" if math.isfinite(number) else f"{column} is {word}" if word else f"it has no {column}"
        why = why if state in ENDED else f"it ended as {state}"
        values.append(math.nan if why else number)
        lost.append(why)
    if all(lost):
        raise RunFolderError(f"{source}: no run has a finite {column}: {lost[0]}")
    return values, lost


def _blocks(runs: pd.DataFrame, column: str, source: str) -> list[int]:
    told = [_text(value) for value in runs[column]]
    if "" in told:
        raise RunFolderError(
            f"{source}, run {told.index('') + 1}: {column} is empty; each run needs the seed of its block"
        )
    numbers = _numbers(list(dict.fromkeys(told)))
    order = (
        [w for _, w in sorted(zip(numbers, dict.fromkeys(told), strict=True))] if numbers else list(dict.fromkeys(told))
    )
    if len(order) < 2:
        raise RunFolderError(
            f"{source}: {column} is {order[0]} in every run: an interval takes at least two blocks (seeds)"
        )
    return [order.index(word) for word in told]


def _refuse_doubled(runs: pd.DataFrame, arms: pd.DataFrame, names: Mapping[str, str], source: str) -> None:
    doubled = arms[arms["arm"].duplicated(keep=False)]
    if doubled.empty:
        return
    same = [int(i) for i in doubled.index[doubled["arm"] == doubled["arm"].iloc[0]]]
    told = [c for c in runs if c not in names.values() and len(set(runs[c].iloc[same].map(_text))) > 1]
    apart = f"they differ in {', '.join(map(str, told))}" if told else "they are equal"
    raise RunFolderError(
        f"{source}: runs {' and '.join(str(i + 1) for i in same[:2])} are the same cell and block "
        f"({doubled['arm'].iloc[0]}), {apart}; keep one of them, or name what tells them apart as a component or block"
    )


def _refuse_unshared(arms: pd.DataFrame, block: str, source: str) -> None:
    cells = arms.groupby("block")["cell"].nunique()
    if (cells < 2).all():
        raise RunFolderError(
            f"{source}: no {block} is shared by two cells, so nothing can be compared within a block; name the column "
            "of the seed that runs of different cells share"
        )


def _scale(values: pd.Series, asked: Asked) -> tuple[ScaleName, str]:
    """The scale of effects, and why it is that one."""
    if asked.scale is not None:
        return asked.scale, "as asked for"
    if asked.direction == "maximize" and ((values > 0) & (values < 1)).all():
        return "logit", "every value lies between 0 and 1"
    if asked.direction == "minimize" and (values > 0).all():
        return "log", "every value is above 0"
    return "identity", "its values suit neither log nor logit"


def _other_settings(runs: pd.DataFrame, arms: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    """Of settings that differ between runs and are no component: which could be the cause of what is seen."""
    notes = []
    for column in runs:
        if column in names.values() or column == STATE:
            continue
        told = runs[column].map(_text)
        setting = str(column).startswith(SETTING) or told.nunique() <= min(MOST_LEVELS, len(runs) // 4)
        if not setting or told.nunique() < 2 or (told.groupby(arms["block"]).nunique() == 1).all():
            continue  # a result, a constant, or another name of the seed
        fixed = (told.groupby(arms["cell"]).nunique() == 1).all()
        how = "along with the cells, so their effects are its effects as well" if fixed else "between runs of one cell"
        counts = ", ".join(f"{word or 'empty'} ({n})" for word, n in told.value_counts().head(4).items())
        notes.append(f"{column} is no component and differs {how}: {counts}.")
    return notes


def _unlike_blocks(arms: pd.DataFrame) -> list[str]:
    alone = [str(seed) for seed, rows in arms.groupby("seed") if rows["cell"].nunique() < 2]
    return [f"Seeds that only one cell has add nothing: {', '.join(alone)}."] if alone else []
