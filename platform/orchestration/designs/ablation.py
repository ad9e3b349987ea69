"""The common part of designs that vary components: keys, cells and claims."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, StringConstraints, field_validator

from branchwise.analysis.declared.across import arm_name
from branchwise.analysis.declared.cells import TEACHER
from branchwise.analysis.declared.claim_grammar import parse_claim
from branchwise.analysis.declared.claims import Claim, Vocabulary, further_hypotheses
from branchwise.analysis.declared.factors import ON, Factor, Grid, cell_of
from branchwise.analysis.declared.inference import ALPHA, percent
from branchwise.analysis.declared.outcomes import Outcome
from branchwise.orchestration.designs.across import DataSet, check_data_sets
from branchwise.orchestration.designs.base import BestConfigs, Cell, Design
from branchwise.orchestration.designs.component import Component, Name, check_disjoint
from branchwise.orchestration.designs.method import Method
from branchwise.orchestration.errors import UserError
from branchwise.run_files.arm_kinds import AnalysisGroup, Kind
from branchwise.run_files.columns import column_and_evaluation, column_and_step
from branchwise.trainables import Arm
from branchwise.trainables.runtime.settings import TupleOf

MAX_CELLS = 1024
ONLY = DataSet()  # of a design that crosses none
CLAIMS = (
    "Statements, sealed before the run and tested after it: NAME.QUANTITY compared with a number or another quantity, "
    "or equivalent(NAME, MARGIN). Quantities of a component: shapley, share, effect, leave_one_out, add_one_in, trend, "
    "interaction(A, B); of a level: NAME=LEVEL.effect; of a cell: value. Numbers: 5% on the log scale, 2 points on "
    "rates, 60% of shares, else the metric's unit. Another outcome follows in parentheses: full.value(mse). See "
    "docs/claims.md."
)


class Ablation(Design):
    """Components and their levels, baselines, outcomes, and claims made before the run."""

    components: Annotated[dict[Name, Component], Field(min_length=1, max_length=6)]
    exclude: TupleOf[dict[Name, str]] = ()  # combinations that make no sense: the level of each component named
    further_cells: TupleOf[dict[Name, str]] = ()  # combinations beyond the design's own: the level of each component
    baselines: TupleOf[str] = ()
    outcomes: Annotated[TupleOf[str], Field(min_length=1)] = ("value",)  # the primary first
    claims: Annotated[
        TupleOf[Annotated[str, StringConstraints(max_length=500)]], Field(max_length=100, description=CLAIMS)
    ] = ()
    first_seed: NonNegativeInt = 0  # of block 0; the others follow

    @field_validator("components", mode="before")
    @classmethod
    def _check_component_count(cls, components: Any) -> Any:
        (limit,) = [item.max_length for item in cls.model_fields["components"].metadata if hasattr(item, "max_length")]
        if isinstance(components, Mapping) and len(components) > limit:
            raise ValueError(
                f"{len(components)} components; at most {limit} are allowed in this kind of design (factorial and "
                "tuned_factorial 6, screening 4 to 20, leave_one_out and add_one_in 50)"
            )
        return components

    @abstractmethod
    def combinations(self) -> Iterator[Mapping[str, str]]:
        """The level of each component in each cell."""

    def planned_cells(self) -> Iterator[Mapping[str, str]]:
        """The level of each component in each cell: those of the design, then the further ones."""
        yield from self.combinations()
        yield from self.further_cells

    def factors(self) -> tuple[Factor, ...]:
        return tuple(component.factor(name) for name, component in self.components.items())

    def seeds(self) -> tuple[int, ...]:
        return tuple(range(self.first_seed, self.first_seed + self.max_blocks))

    def outcome_names(self) -> tuple[str, ...]:
        return self.outcomes

    def declared_claims(self, method: Method) -> tuple[str, ...]:
        return tuple(claim.canonical for claim in self._parsed(method))

    def further_hypotheses(self, method: Method) -> int:
        from branchwise.analysis.declared.contrasts import headline_effect  # it imports NumPy

        tested = [item for item, _ in (headline_effect(self.grid(), i) for i in range(len(self.components))) if item]
        further = further_hypotheses(self._parsed(method), list(self.components), tested[0] if tested else "shapley")
        return further + (len(self.data_sets) - 1) * (len(tested) + further)

    def _parsed(self, method: Method) -> list[Claim]:
        """The claims, which were checked before."""
        available = self.vocabulary(method)
        return [parse_claim(claim, available) for claim in self.claims]

    def vocabulary(self, method: Method) -> Vocabulary:
        """The names that a claim may use."""
        columns = {column.name: column for column in method.module.COLUMNS}
        measured = {name: columns[column_and_step(name)[0]] for name in self.outcomes}
        rates = {name: Outcome(scale=column.scale, range=column.range).points for name, column in measured.items()}
        return Vocabulary(
            grid=self.grid(),
            cells=[*(cell.cell for cell in self.component_cells()), *self.baselines, TEACHER],
            outcomes={name: column.scale for name, column in measured.items()},
            points={name: points for name, points in rates.items() if points},
        )

    def grid(self) -> Grid:
        """The components, and the cells that the design runs of them."""
        planned = frozenset(tuple(levels[name] for name in self.components) for levels in self.planned_cells())
        return Grid(factors=self.factors(), planned=planned)

    def settings(self) -> list[str]:
        changed = {key for component in self.components.values() for key in component.settings()}
        return sorted(changed.union(*(data_set.patch for data_set in self.data_sets)))

    def cells(self, method: Method) -> tuple[Cell, ...]:
        baselines = (Cell(cell=name, kind="baseline", patch=method.module.BASELINES[name]) for name in self.baselines)
        return (*self.component_cells(), *baselines)

    def component_cells(self) -> tuple[Cell, ...]:
        """A cell for each combination of levels."""
        cells, factors = [], self.factors()
        for levels in self.planned_cells():
            patches = [component.patch(levels[name]) for name, component in self.components.items()]
            patch = {key: value for settings in patches for key, value in settings.items()}
            states = {item.name: levels[item.name] == ON if item.is_switch else levels[item.name] for item in factors}
            cells.append(Cell(cell=cell_of(factors, levels), kind="cell", components=states, patch=patch))
        return tuple(cells)

    def arms(self, method: Method, found: BestConfigs) -> tuple[Arm, ...]:
        """The arms of the design; those of a block on a data set differ only in the patch.

        They share a seed, and so their initial weights, data order, timesteps and noise.
        """
        cells, first = self.cells(method), self.first_seed
        return tuple(
            block_arm(method, cell, block, first_seed=first, data_set=data_set)
            for block in range(self.max_blocks)
            for data_set in self.data_sets
            for cell in cells
        )

    def total(self) -> int:
        return self.max_blocks * len(self.data_sets) * (len(list(self.planned_cells())) + len(self.baselines))

    def parts(self) -> tuple[AnalysisGroup, ...]:
        return (AnalysisGroup(kinds=("cell", "baseline")),)

    def describe(self, at_a_time: int) -> Iterator[tuple[str, str]]:
        cells, baselines = len(list(self.planned_cells())), ""
        if self.baselines:
            baselines = f" + {len(self.baselines)} baselines ({', '.join(self.baselines)})"
        yield "components", ", ".join(map(str, self.factors()))
        most = "at most " if self.looks else ""
        repeated = f" x {len(self.data_sets)} data sets" if self.crossed else ""
        yield "arms", f"{most}{self.total()} = ({cells} cells{baselines}) x {self.max_blocks} blocks{repeated}"
        if self.crossed:
            seeds = ", ".join(f"{item.name} from {self.first_seed + item.first_seed}" for item in self.data_sets)
            yield "across", f"{self.crossed.name}; first seeds: {seeds}"
        if self.looks:
            after = ", ".join(map(str, self.looks.blocks))
            yield "looks", f"after {after} blocks; {self.looks.spending.replace('_', '-')} spending"
        if len(self.outcomes) > 1:
            yield "outcomes", ", ".join(self.outcomes)
        if self.alpha != ALPHA:
            yield "alpha", f"{self.alpha:g}, shared by all tests; intervals are at {percent(1 - self.alpha)}"
        for claim in self.claims:
            yield "claim", claim

    def check(self, method: Method) -> None:
        file = method.file
        if self.max_cells() > MAX_CELLS:
            raise UserError(
                f"{file}: design.components: {self.max_cells()} combinations of levels; {MAX_CELLS} are allowed"
            )
        self.check_total(method)
        self.check_looks(method)
        if self.across:
            sets = {name: component.settings() for name, component in self.components.items()}
            sets |= {name: set(method.module.BASELINES.get(name, ())) for name in self.baselines}
            check_data_sets(self.across, sets, self.max_blocks, method)
        check_disjoint(self.components, method)
        self._check_exclusions(method)
        self._check_further_cells(method)
        for data_set in self.data_sets:
            self._check_on(data_set.on(method))

    def _check_on(self, method: Method) -> None:
        """Refuse a design that does not fit a data set, whose settings `method` has."""
        file = method.file
        for name, component in self.components.items():
            component.check(name, method)
        for cell in self.component_cells():
            method.check_patch(f"design.components: the cell {cell.cell}", cell.patch)
            method.check_comparable(f"design.components: the cell {cell.cell}", cell.patch)
        available = method.module.BASELINES
        for index, baseline in enumerate(self.baselines):
            if baseline not in available or baseline in self.baselines[:index]:
                allowed = ", ".join(available)
                raise UserError(
                    f"{file}: design.baselines: {baseline!r} is not allowed: each at most once of {allowed}"
                )
            method.check_patch(f"design.baselines: {baseline}", available[baseline])
            method.check_comparable(f"design.baselines: {baseline}", available[baseline])
        self._check_rows(method)
        self._check_outcomes(method)
        known_words = self.vocabulary(method)
        for index, claim in enumerate(self.claims):
            try:
                parsed = parse_claim(claim, known_words)
            except ValueError as error:
                raise UserError(f"{file}: design.claims[{index}]: {error}") from error
            if parsed.one_sided and self.looks:
                raise UserError(
                    f"{file}: design.claims[{index}]: claim {claim!r}: looks take two-sided tests; leave out "
                    "'one-sided', or give blocks as a number"
                )

    def max_cells(self) -> int:
        """Upper bound of the number of cells, without listing them."""
        return math.prod(len(factor.levels) for factor in self.factors())

    def _check_rows(self, method: Method) -> None:
        """Refuse rows that are the same model (a component has no effect) or share a name."""
        rows: dict[str, Cell] = {}
        names: dict[str, Cell] = {}
        for cell in self.cells(method):
            if names.setdefault(cell.cell, cell) is not cell:
                raise UserError(
                    f"{method.file}: design.components: two cells would be called {cell.cell}; rename the component "
                    "whose name looks like a cell's"
                )
            settings = method.patched(cell.patch).model_dump_json()
            other = rows.setdefault(settings, cell)
            if other is not cell:
                differing = [name for name in cell.components if cell.components[name] != other.components.get(name)]
                apart = f", which only {' and '.join(differing)} should tell apart," if differing else ""
                raise UserError(
                    f"{method.file}: design: {other.cell} and {cell.cell}{apart} have the same settings, so they would "
                    "be one row twice; leave one out"
                )

    def _check_exclusions(self, method: Method) -> None:
        if not self.exclude:
            return
        where = f"{method.file}: design.exclude"
        levels = {factor.name: factor.levels for factor in self.factors()}
        for index, excluded in enumerate(self.exclude):
            for name, level in excluded.items():
                if level not in levels.get(name, ()):
                    allowed = "; ".join(f"{item}: {', '.join(each)}" for item, each in levels.items())
                    raise UserError(
                        f"{where}[{index}]: {name}: {level} is not allowed: a component's level ({allowed})"
                    )
        remaining = list(self.combinations())
        for factor in self.factors():
            if missing := [level for level in factor.levels if all(item[factor.name] != level for item in remaining)]:
                raise UserError(f"{where}: leaves no cell with {factor.name} {missing[0]}; exclude less")
        if all(any(entry[factor.name] != factor.full for factor in self.factors()) for entry in remaining):
            raise UserError(f"{where}: leaves out the full method, which every effect is measured from")

    def _check_further_cells(self, method: Method) -> None:
        """Refuse a further cell that is incomplete, or a cell of the design anyway."""
        levels = {factor.name: factor.levels for factor in self.factors()}
        cells = [dict(item) for item in self.combinations()] if self.further_cells else []
        for index, cell in enumerate(self.further_cells):
            where = f"{method.file}: design.further_cells[{index}]"
            if wrong := [f"{name}: {level}" for name, level in cell.items() if level not in levels.get(name, ())]:
                allowed = "; ".join(f"{name}: {', '.join(each)}" for name, each in levels.items())
                raise UserError(f"{where}: {wrong[0]} is not allowed; it must be a component's level ({allowed})")
            if missing := [name for name in levels if name not in cell]:
                raise UserError(f"{where}: has no level of {missing[0]}; it must have one of every component")
            if cell in cells:
                raise UserError(f"{where}: {cell_of(self.factors(), cell)} is a cell of the design already")
            cells.append(dict(cell))

    def _check_outcomes(self, method: Method) -> None:
        allowed = [column.name for column in method.module.COLUMNS if column.claimable]
        for index, outcome in enumerate(self.outcomes):
            column, step = column_and_step(outcome)
            if column not in allowed or outcome in self.outcomes[:index]:
                budget = column_and_evaluation(allowed[0])[0]
                message = f"each at most once of {', '.join(allowed)}, at a budget as {budget}@STEPS"
                raise UserError(f"{method.file}: design.outcomes: {outcome!r} is not allowed: {message}")
            measured = list(method.module.measured_at(method.spec))
            if step is not None and step not in measured:
                message = f"students are measured after {', '.join(map(str, measured)) or 'their last'} steps alone"
                raise UserError(f"{method.file}: design.outcomes: {outcome!r} is not allowed: {message}")

    def is_excluded(self, levels: Mapping[str, str]) -> bool:
        return any(all(levels.get(name) == level for name, level in item.items()) for item in self.exclude)


def all_combinations(factors: Sequence[Factor]) -> Iterator[Mapping[str, str]]:
    """Each combination of levels, of on and off with all components on first and none last."""
    names = [factor.name for factor in factors]
    for levels in itertools.product(*(factor.levels[::-1] for factor in factors)):
        yield dict(zip(names, levels, strict=True))


def block_arm(
    method: Method,
    cell: Cell,
    block: int,
    *,
    kind: Kind | None = None,
    first_seed: int = 0,
    data_set: DataSet = ONLY,
) -> Arm:
    """The arm of a cell in a block of a data set; `kind` is that of the cell unless given."""
    return method.arm(
        name=arm_name(cell.cell, block, data_set.name),
        kind=kind or cell.kind,
        cell=cell.cell,
        block=block,
        seed=first_seed + data_set.first_seed + block,
        components=cell.components,
        across={data_set.across: data_set.name} if data_set.name else {},
        patch={**data_set.patch, **cell.patch},
    )
