"""The levels of a component: which is the reference, which the whole method, and whether it is a switch."""

from __future__ import annotations

from branchwise.analysis.declared.factors import OFF, ON, Factor
from branchwise.analysis.importers.options import ImportOptions, suggest
from branchwise.analysis.importers.run_table import Words, listed, shorten
from branchwise.analysis.importers.text.numbers import plain_numbers
from branchwise.analysis.importers.text.spelling import is_off, same_word
from branchwise.analysis.records.damage import RunFolderError

MAX_LEVELS = 12
MAX_NAME = 200  # characters of a level's name
EMPTY = ("none", "empty", "(empty)")


def factor_of(name: str, column: Words, options: ImportOptions, source: str) -> tuple[Factor, dict[str, str]]:
    """The factor of a component and the level's name of each word. Raises RunFolderError with a way out."""
    words = list(column.used)
    if len(words) < 2:
        raise RunFolderError(
            f"{source}: {name} is {words[0] or 'empty'} in every run that has a result; a component needs two values"
        )
    if len(words) > MAX_LEVELS:
        raise RunFolderError(f"{source}: {name} has {len(words)} values, and a component at most {MAX_LEVELS} levels")
    visible = _shown(words)
    numbers = plain_numbers(tuple(words)) if "" not in words else []
    if numbers:
        words = [word for _, word in sorted(zip(numbers, words, strict=True))]
    reference = _chosen("--reference", name, options.reference, words, visible, source)
    full = _chosen("--full", name, options.full, words, visible, source)
    if reference is None:
        reference = _default_reference(name, words, visible, bool(numbers), full, source)
    others = [word for word in words if word != reference]
    full = full if full is not None else others[-1]
    if full == reference:
        raise RunFolderError(f"{source}: --reference and --full of {name} must be two different values")
    if len(words) == 2 and is_off(reference):
        return Factor(name=name), {reference: OFF, others[0]: ON}
    order = words if numbers else [reference, *others]  # never off before on, which is what a switch has
    factor = Factor(
        name=name, levels=tuple(visible[word] for word in order), reference=visible[reference], full=visible[full],
        doses=tuple(sorted(numbers)) if len(set(numbers)) == len(words) else (),
    )  # fmt: skip
    return factor, visible


def _shown(words: list[str]) -> dict[str, str]:
    """The name of each word's level: what is empty is called none, unless that is a value."""
    taken = {word.lower() for word in words}
    empty = next(word for word in EMPTY if word not in taken)
    visible = {word: shorten(word, MAX_NAME) or empty for word in words}
    if len(set(visible.values())) < len(visible):  # long words that begin alike
        visible = {
            word: f"{shorten(word, MAX_NAME - 4)} #{i}" if word else empty for i, word in enumerate(words, start=1)
        }
    return visible


def _chosen(option: str, name: str, levels: object, words: list[str], rows: dict[str, str], source: str) -> str | None:
    """The word that an option names, by its level's name or its spelling."""
    if not isinstance(levels, dict) or name not in levels:
        return None
    level = str(levels[name])
    by_name = {shown_as: word for word, shown_as in rows.items()}
    word = by_name.get(level.strip(), same_word(level, words))
    if word is None:
        raise RunFolderError(f"{source}: {option} {name}={level}: {name} must be one of {', '.join(rows.values())}")
    return word


def _default_reference(
    name: str, words: list[str], visible: dict[str, str], is_numeric: bool, full: str | None, source: str
) -> str:
    """The one level that means off, else the smallest number. Raises RunFolderError where that is not clear."""
    off = [word for word in words if is_off(word)]
    if len(off) == 1 and off[0] != full:
        return off[0]
    if full is not None and len(words) == 2:
        return next(word for word in words if word != full)
    if is_numeric and not off and words[0] != full:
        return words[0]
    first = (off or [word for word in words if word != full])[0]
    raise RunFolderError(
        f"{source}: which of {listed(visible.values(), MAX_LEVELS)} is {name} compared with? Say "
        f"{suggest('--reference', f'{name}={visible[first]}')}, or another of them"
    )
