"""What the designs have in common that switch components off: their keys, their cells and what is claimed of them."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from branchwise.analysis.statistics.cells import BASE, FULL, TEACHER, cell_name, factorial_cells
from branchwise.analysis.statistics.claims import Claim, further_hypotheses, parse_claim
from branchwise.orchestration.designs.base import MOST_ARMS, Cell, Design, Found, Part
from branchwise.orchestration.designs.method import Method
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.messages import brief
from branchwise.trainables import Arm
from branchwise.trainables.contract import Kind
from branchwise.trainables.runtime.settings import Many, Strict, full_key, setting

Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class Component(Strict):
    """A part of the method and the settings that switch it off."""

    off: Annotated[dict[str, Any], Field(min_length=1)]


class Ablation(Design):
    """Components to switch off, models to compare with, and what is claimed beforehand."""

    components: Annotated[dict[Word, Component], Field(min_length=1, max_length=6)]
    baselines: Many[str] = ()
    claims: Many[str] = ()

    @abstractmethod
    def combinations(self) -> Iterator[Mapping[str, bool]]:
        """Which components are on in each cell."""

    def component_names(self) -> tuple[str, ...]:
        return tuple(self.components)

    def declared_claims(self) -> tuple[str, ...]:
        return tuple(claim.canonical for claim in self._parsed())

    def further_hypotheses(self) -> int:
        return further_hypotheses(self._parsed(), list(self.components))

    def _parsed(self) -> list[Claim]:
        """The claims; they were checked against the cells that the design runs before."""
        names = [*factorial_cells(list(self.components)), *self.baselines, TEACHER]
        return [parse_claim(claim, list(self.components), names) for claim in self.claims]

    def settings(self) -> list[str]:
        return sorted({key for component in self.components.values() for key in component.off})

    def cells(self, method: Method) -> tuple[Cell, ...]:
        baselines = (Cell(cell=name, kind="baseline", patch=method.module.BASELINES[name]) for name in self.baselines)
        return (*self.component_cells(), *baselines)

    def component_cells(self) -> tuple[Cell, ...]:
        """A cell for each combination of components."""
        cells = []
        for on in self.combinations():
            off = [component.off for name, component in self.components.items() if not on[name]]
            patch = {key: value for settings in off for key, value in settings.items()}
            name = cell_name([name for name, state in on.items() if state], list(on))
            cells.append(Cell(cell=name, kind="cell", components=on, patch=patch))
        return tuple(cells)

    def arms(self, method: Method, found: Found) -> tuple[Arm, ...]:
        """All arms of a block share its seed, and so their initial weights, data order, timesteps and noise: they
        differ in nothing but the patch."""
        return tuple(block_arm(method, cell, block) for block in range(self.blocks) for cell in self.cells(method))

    def total(self) -> int:
        return self.blocks * (len(list(self.combinations())) + len(self.baselines))

    def parts(self) -> tuple[Part, ...]:
        return (Part(kinds=("cell", "baseline")),)

    def describe(self, at_a_time: int) -> Iterator[tuple[str, str]]:
        cells, baselines = len(list(self.combinations())), ""
        if self.baselines:
            baselines = f" + {len(self.baselines)} baselines ({', '.join(self.baselines)})"
        yield "components", ", ".join(self.components)
        yield "arms", f"{self.total()} = ({cells} cells{baselines}) x {self.blocks} blocks"
        for claim in self.claims:
            yield "claim", claim

    def check(self, method: Method) -> None:
        file = method.file
        if self.total() > MOST_ARMS:
            raise UserError(f"{file}: design.blocks: {self.blocks} makes {self.total()} arms; {MOST_ARMS} are allowed")
        self._check_components(method)
        known = method.module.BASELINES
        for index, baseline in enumerate(self.baselines):
            if baseline not in known or baseline in self.baselines[:index]:
                allowed = ", ".join(known)
                raise UserError(
                    f"{file}: design.baselines: {baseline!r} is not allowed: each at most once of {allowed}"
                )
            method.check_patch(f"design.baselines: {baseline}", known[baseline])
            method.check_comparable(f"design.baselines: {baseline}", known[baseline])
        self._check_differ(method)
        rows = [cell.cell for cell in self.cells(method)]
        for index, claim in enumerate(self.claims):
            try:
                parse_claim(claim, list(self.components), [*rows, TEACHER])
            except ValueError as error:
                raise UserError(f"{file}: design.claims[{index}]: {error}") from error

    def _check_components(self, method: Method) -> None:
        taken = [FULL, BASE, TEACHER, *method.module.BASELINES]
        for name, component in self.components.items():
            if name in taken:
                raise UserError(
                    f"{method.file}: design.components: {name!r} is not allowed: {', '.join(taken)} name other rows"
                )
            for key in component.off:
                method.current(f"design.components.{name}.off", key)
        self._check_apart(method)
        for cell in self.component_cells():
            method.check_patch(f"design.components: the cell {cell.cell}", cell.patch)
        for name, component in self.components.items():
            method.check_comparable(f"design.components.{name}.off", component.off)

    def _check_apart(self, method: Method) -> None:
        """Raises UserError unless each setting, however written, belongs to one component: else cells would coincide,
        or the order of the components decide."""
        owners: dict[str, tuple[str, str]] = {}
        for name, component in self.components.items():
            for key in component.off:
                full = full_key(key)
                for taken, (owner, written) in owners.items():
                    if f"{full}.".startswith(f"{taken}.") or f"{taken}.".startswith(f"{full}."):
                        raise UserError(
                            f"{method.file}: design.components.{name}.off: {key} is what design.components.{owner}.off "
                            f"sets by {written} already: a setting belongs to one component, written in one way"
                        )
                owners[full] = (name, key)

    def _check_differ(self, method: Method) -> None:
        """Raises UserError where a component changes nothing, or two rows are the same model."""
        for name, component in self.components.items():
            where = f"design.components.{name}.off"
            off = method.patched(component.off)
            for key, value in component.off.items():
                if setting(off, key) == method.current(where, key):
                    raise UserError(
                        f"{method.file}: {where}: {key}: {brief(value)} equals the current value; choose another"
                    )
        rows: dict[str, str] = {}
        for cell in self.cells(method):
            settings = method.patched(cell.patch).model_dump_json()
            if settings in rows:
                raise UserError(
                    f"{method.file}: design: {rows[settings]} and {cell.cell} have the same settings, so they are one "
                    "and the same row; leave one of them out"
                )
            rows[settings] = cell.cell


def every_combination(components: Mapping[str, Any]) -> Iterator[Mapping[str, bool]]:
    """All 2^k of them, with every component on first and none on last."""
    for states in itertools.product((True, False), repeat=len(components)):
        yield dict(zip(components, states, strict=True))


def block_arm(method: Method, cell: Cell, block: int, *, kind: Kind | None = None, first_seed: int = 0) -> Arm:
    """The arm of a cell in a block; `kind` is that of the cell unless told otherwise."""
    return method.arm(
        name=f"{cell.cell}-b{block}",
        kind=kind or cell.kind,
        cell=cell.cell,
        block=block,
        seed=first_seed + block,
        components=cell.components,
        patch=cell.patch,
    )
