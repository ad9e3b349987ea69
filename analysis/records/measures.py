"""What was measured again of a run: a table like its own for every measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from branchwise.analysis.records.folder import load_arms, read_mapping
from branchwise.analysis.records.run import Run

FOLDER = "measurements"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """`settings` and those `of_the_sweep`: by dotted key of two parts. `run` has the arms as they were measured so."""

    key: str
    settings: Mapping[str, Any]
    of_the_sweep: Mapping[str, Any]
    as_in_the_sweep: bool
    run: Run

    def label(self) -> str:
        """The settings that are not the sweep's: `sampler_steps 10, features classifier`."""
        own = self.of_the_sweep
        told = [
            f"{key.partition('.')[2]} {text_of(value)}" for key, value in self.settings.items() if own.get(key) != value
        ]
        return ", ".join(told) or "as in the sweep"


def load_measures(run: Run) -> tuple[Measure, ...]:
    """The measures that were made of a run, or of a part of one, those of the sweep first. Raises RunFolderError."""
    found = []
    for folder in sorted((run.folder / FOLDER).glob("*")):
        if not (folder / "measure.json").is_file() or not (folder / "arms.parquet").is_file():
            continue
        about = read_mapping(folder / "measure.json")
        arms = load_arms(folder, run.outline)
        found.append(
            Measure(
                key=folder.name,
                settings=_dotted(about["settings"]),
                of_the_sweep=_dotted(about["of_the_sweep"]),
                as_in_the_sweep=about["as_in_the_sweep"],
                run=replace(run, arms=arms[arms["kind"].isin(run.part.kinds)]),
            )
        )
    return tuple(sorted(found, key=lambda measure: (not measure.as_in_the_sweep, _order(measure))))


def _dotted(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{section}.{key}": value for section, tree in sections.items() for key, value in tree.items()}


def _order(measure: Measure) -> list[tuple[int, float, str]]:
    """Numbers by size, words by the alphabet, key by key."""
    return [
        (0, float(value), "") if is_number(value) else (1, 0.0, text_of(value)) for value in measure.settings.values()
    ]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def text_of(value: Any) -> str:
    """A setting's value in a few characters."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} {text_of(item)}" for key, item in value.items()) + "}"
    return f"{value:g}" if is_number(value) else str(value)
