"""Levels of a component: the reference, the full method's, and whether it is a switch."""

from __future__ import annotations

from branchwise.analysis.declared.factors import OFF, ON, Factor
from branchwise.analysis.importers.options import ImportOptions, suggest
from branchwise.analysis.importers.run_table import Categorical, listed, shorten
from branchwise.analysis.importers.text.numbers import plain_numbers
from branchwise.analysis.importers.text.spelling import is_off, matching_text
from branchwise.analysis.records.damage import RunFolderError

MAX_LEVELS = 12
MAX_NAME = 200  # characters of a level's name
EMPTY = ("none", "empty", "(empty)")


def factor_of(name: str, column: Categorical, options: ImportOptions, source: str) -> tuple[Factor, dict[str, str]]:
    """Return the factor of a component and the level's name of each value.

    Raises:
        RunFolderError: The values make no factor; the message has a remedy.
    """
    texts = list(column.used)
    if len(texts) < 2:
        raise RunFolderError(
            f"{source}: {name} is {texts[0] or 'empty'} in every run that has a result; a component needs two values"
        )
    if len(texts) > MAX_LEVELS:
        raise RunFolderError(f"{source}: {name} has {len(texts)} values, and a component at most {MAX_LEVELS} levels")
    visible = _level_names(texts)
    numbers = plain_numbers(tuple(texts)) if "" not in texts else []
    if numbers:
        texts = [text for _, text in sorted(zip(numbers, texts, strict=True))]
    reference = _named_level("--reference", name, options.reference, texts, visible, source)
    full = _named_level("--full", name, options.full, texts, visible, source)
    if reference is None:
        reference = _default_reference(name, texts, visible, bool(numbers), full, source)
    others = [text for text in texts if text != reference]
    full = full if full is not None else others[-1]
    if full == reference:
        raise RunFolderError(f"{source}: --reference and --full of {name} must be two different values")
    if len(texts) == 2 and is_off(reference):
        return Factor(name=name), {reference: OFF, others[0]: ON}
    order = texts if numbers else [reference, *others]  # never off before on, which is what a switch has
    factor = Factor(
        name=name, levels=tuple(visible[text] for text in order), reference=visible[reference], full=visible[full],
        doses=tuple(sorted(numbers)) if len(set(numbers)) == len(texts) else (),
    )  # fmt: skip
    return factor, visible


def _level_names(texts: list[str]) -> dict[str, str]:
    """The name of each word's level: what is empty is called none, unless that is a value."""
    taken = {text.lower() for text in texts}
    empty = next(text for text in EMPTY if text not in taken)
    visible = {text: shorten(text, MAX_NAME) or empty for text in texts}
    if len(set(visible.values())) < len(visible):  # long values with equal prefixes
        visible = {
            text: f"{shorten(text, MAX_NAME - 4)} #{i}" if text else empty for i, text in enumerate(texts, start=1)
        }
    return visible


def _named_level(
    option: str, name: str, levels: object, texts: list[str], level_names: dict[str, str], source: str
) -> str | None:
    """The value that an option names, by its level's name or its spelling."""
    if not isinstance(levels, dict) or name not in levels:
        return None
    level = str(levels[name])
    by_name = {label: text for text, label in level_names.items()}
    text = by_name.get(level.strip(), matching_text(level, texts))
    if text is None:
        raise RunFolderError(
            f"{source}: {option} {name}={level}: {name} must be one of {', '.join(level_names.values())}"
        )
    return text


def _default_reference(
    name: str, texts: list[str], visible: dict[str, str], is_numeric: bool, full: str | None, source: str
) -> str:
    """Level that means off, else the smallest number; raise RunFolderError if that is not clear."""
    off = [text for text in texts if is_off(text)]
    if len(off) == 1 and off[0] != full:
        return off[0]
    if full is not None and len(texts) == 2:
        return next(text for text in texts if text != full)
    if is_numeric and not off and texts[0] != full:
        return texts[0]
    first = (off or [text for text in texts if text != full])[0]
    raise RunFolderError(
        f"{source}: which of {listed(visible.values(), MAX_LEVELS)} is {name} compared with? Say "
        f"{suggest('--reference', f'{name}={visible[first]}')}, or another of them"
    )
