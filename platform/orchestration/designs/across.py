"""An ablation repeated on data sets.

In a space: `across: {dataset: [digits, fashion]}`, or the settings of each data set by a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from branchwise.analysis.declared.across import SEED_STRIDE
from branchwise.orchestration.designs.component import Patch
from branchwise.orchestration.designs.method import Method
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.messages import brief
from branchwise.trainables.runtime.settings import TupleOf, bare_key

MAX_DATA_SETS = 50
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


def _across_tag(values: Any) -> str:
    return "names" if isinstance(values, Mapping) else "values"


Across = Annotated[
    dict[
        str,
        Annotated[
            Annotated[TupleOf[str | int | float | bool], Tag("values")] | Annotated[dict[str, Patch], Tag("names")],
            Discriminator(_across_tag),
        ],
    ],
    Field(
        min_length=1,
        max_length=1,
        description="Data sets that the ablation is repeated on, each with seeds of its own: the values of one "
        "setting, {dataset: [a, b]}, or the settings of each by its name, {dataset: {a: {KEY: VALUE}}}. Claims are "
        "tested on each of them, as one family.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set of a design; the only one, without a name, if the design does not cross any.

    Attributes:
        name: As tables, claims and arms call it.
        across: What the data sets are called together.
        patch: The settings in which it differs from the space.
        first_seed: What is added to the seeds of the design.
    """

    name: str = ""
    across: str = ""
    patch: Mapping[str, Any] = field(default_factory=dict)
    first_seed: int = 0

    def row(self, cell: str) -> str:
        """A cell as it is called next to those of other data sets."""
        return f"{cell} on {self.name}" if self.name else cell

    def on(self, method: Method) -> Method:
        """Return the method with the settings of this data set."""
        return method.laid_over(self.patch, f"{method.file}, {self.across} {self.name}") if self.name else method


def data_sets(across: Mapping[str, Any] | None) -> tuple[DataSet, ...]:
    """The data sets of a design, in order."""
    if not across:
        return (DataSet(),)
    ((key, values),) = across.items()
    named = values.items() if isinstance(values, Mapping) else [(_text(value), {key: value}) for value in values]
    return tuple(
        DataSet(name=name, across=key, patch=patch, first_seed=number * SEED_STRIDE)
        for number, (name, patch) in enumerate(named)
    )


def check_data_sets(across: Mapping[str, Any], components: Mapping[str, set[str]], blocks: int, method: Method) -> None:
    """Refuse data sets that cannot be distinguished, named or trained on.

    Args:
        across: As the design has it.
        components: By component or baseline, the settings that it changes.
        blocks: Of each data set.
        method: With the space's settings.

    Raises:
        UserError: A data set is not allowed.
    """
    ((key, values),) = across.items()
    where = f"{method.file}: design.across"
    found = data_sets(across)
    if not NAME.fullmatch(key):
        raise UserError(f"{where}: {brief(key)} is not allowed; it must be a setting, or a name such as dataset")
    if not 2 <= len(found) <= MAX_DATA_SETS:
        raise UserError(f"{where}.{key}: {len(found)} data sets; 2 to {MAX_DATA_SETS} are allowed")
    if blocks > SEED_STRIDE:
        raise UserError(f"{method.file}: design.blocks: {blocks}; with design.across at most {SEED_STRIDE} are allowed")
    names: dict[str, str] = {}
    rows: dict[str, str] = {}
    for item in found:
        if not NAME.fullmatch(item.name):
            raise UserError(
                f"{where}.{key}: {brief(item.name)} is no name of a data set; names have letters, digits, '.', '_' and "
                f"'-', 40 at most: {key}: {{NAME: {{KEY: {brief(item.name)}}}}}"
            )
        if (other := names.setdefault(item.name.lower(), item.name)) != item.name or item.name in rows.values():
            raise UserError(f"{where}.{key}: {other} and {item.name} have one name; names must differ in letters")
        _check_settings(f"design.across.{key}" + (f".{item.name}" if isinstance(values, Mapping) else ""), item, method)
        settings = method.patched(item.patch).model_dump_json()
        if (twin := rows.setdefault(settings, item.name)) != item.name:
            raise UserError(f"{where}.{key}: {twin} and {item.name} have the same settings; leave one out")
        _check_disjoint(f"{where}.{key}", item, components)


def _check_settings(where: str, item: DataSet, method: Method) -> None:
    keys = [bare_key(key) for key in item.patch]
    for key in item.patch:
        try:
            method.current(where, key)
        except UserError as error:
            by_name = f"; or name the settings of each: {item.across}: {{{item.name}: {{KEY: VALUE}}}}"
            raise UserError(f"{error}{by_name if key == item.across else ''}") from error
        if keys.count(bare_key(key)) > 1:
            raise UserError(f"{method.file}: {where}: {key} is given twice, once as {item.across}")
    method.check_patch(where, item.patch)


def _check_disjoint(where: str, item: DataSet, components: Mapping[str, set[str]]) -> None:
    """Refuse a data set that sets what a component or a baseline sets, as they would conflict."""
    for key in map(bare_key, item.patch):
        for owner, settings in components.items():
            for taken in map(bare_key, settings):
                if f"{key}.".startswith(f"{taken}.") or f"{taken}.".startswith(f"{key}."):
                    raise UserError(
                        f"{where}: {key} is what {owner} sets; a setting belongs to the data sets or to a component"
                    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
