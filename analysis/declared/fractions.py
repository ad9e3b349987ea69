"""Two-level fractions of resolution IV: generators and aliased effects. Plain Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

from branchwise.analysis.declared.factors import Grid

MIN_COMPONENTS, MAX_COMPONENTS = 4, 20
MIN_BLOCKS = 5  # fewer rank main effects and judge none

# By number of components: each further column as a product of the basic ones, which are the first letters. 8 to 32 runs
# are the minimum-aberration designs (Box, Hunter & Hunter; NIST/SEMATECH e-Handbook 5.3.3.4.7, with a
# misprint in its row for 5); 64 runs are the products of three letters with the fewest words of length four, by
# trying all.
GENERATORS: dict[int, tuple[str, ...]] = {
    4: ("ABC",),
    5: ("ABCD",),
    6: ("ABC", "BCD"),
    7: ("ABC", "BCD", "ACD"),
    8: ("BCD", "ACD", "ABC", "ABD"),
    9: ("BCDE", "ACDE", "ABDE", "ABCE"),
    10: ("ABCD", "ABCE", "ABDE", "ACDE", "BCDE"),
    11: ("ABC", "BCD", "CDE", "ACD", "ADE", "BDE"),
    12: ("ACE", "ACD", "ABD", "ABE", "CDE", "ABCDE", "ADE"),
    13: ("ACE", "BCE", "ABC", "CDE", "ABCDE", "ABE", "ACD", "ADE"),
    14: ("ABC", "ABD", "ABE", "ACD", "ACE", "ADE", "BCD", "BCE", "BDE"),
    15: ("ABC", "ABD", "ABE", "ACD", "ACE", "ADE", "BCD", "BCE", "BDE", "CDE"),
    16: ("ABC", "ABD", "ABE", "ACD", "ACE", "ADE", "BCD", "BCE", "BDE", "CDE", "ABCDE"),
    17: ("ABC", "ABD", "ACD", "ABE", "ACE", "BDE", "ADF", "CDF", "BEF", "CEF", "DEF"),
    18: ("ABC", "ABD", "ACD", "ABE", "BCE", "CDE", "ACF", "BDF", "CDF", "AEF", "BEF", "DEF"),
    19: ("ABC", "ABD", "ACD", "BCD", "ABE", "ACE", "BCE", "ABF", "ADF", "CDF", "BEF", "CEF", "DEF"),
    20: ("ABC", "ABD", "ACD", "BCD", "ABE", "ACE", "BCE", "ADE", "ABF", "ADF", "CDF", "BEF", "CEF", "DEF"),
}


def screening_runs(components: int) -> int:
    """Return the number of runs of the fraction: 8, 16, 32 or 64."""
    return int(2 ** (components - len(GENERATORS[components])))


def screening_cells(components: int) -> Iterator[tuple[bool, ...]]:
    """Yield the runs of the fraction, whether each component is on, the full method first.

    Each generator has a plus sign, so a generated component is off where an odd number of its letters is.
    """
    generators = GENERATORS[components]
    basic = components - len(generators)
    for run in range(2**basic):
        off = [bool(run >> (basic - 1 - i) & 1) for i in range(basic)]
        off += [sum(off["ABCDEF".index(letter)] for letter in generator) % 2 == 1 for generator in generators]
        yield tuple(not item for item in off)


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A comparison of a fraction's runs: plus signs against minus signs (n runs allow n - 1).

    component: whose main effect it is, if any. pairs: the effects of two components that it is the sum of. triples: of
    a main effect, the effects of three components that it is aliased with. off: its column, as in `Grid.columns`.
    """

    component: str = ""
    pairs: tuple[tuple[str, str], ...] = ()
    triples: tuple[tuple[str, str, str], ...] = ()
    off: int

    @property
    def order(self) -> int:
        """1 for a main effect, 2 for effects of pairs, 3 for the rest of higher ones."""
        return 1 if self.component else 2 if self.pairs else 3


@lru_cache(maxsize=8)
def contrasts_of(grid: Grid) -> tuple[Contrast, ...]:
    """Return the contrasts of a fraction: main effects, sums of pairs, then higher orders only.

    All aliased effects enter with a plus sign, because the full method is one of the runs.
    """
    names, columns = grid.components, grid.columns
    pairs: dict[int, list[tuple[str, str]]] = {}
    for i, j in combinations(range(len(names)), 2):
        pairs.setdefault(columns[i] ^ columns[j], []).append((names[i], names[j]))
    triples: dict[int, list[tuple[str, str, str]]] = {column: [] for column in columns}
    for i, j, k in combinations(range(len(names)), 3):
        column = columns[i] ^ columns[j] ^ columns[k]
        if column in triples:
            triples[column].append((names[i], names[j], names[k]))
    mains = [
        Contrast(component=name, triples=tuple(triples[column]), off=column)
        for name, column in zip(names, columns, strict=True)
    ]
    chains = [Contrast(pairs=tuple(members), off=column) for column, members in pairs.items()]
    named = {*columns, *pairs}
    higher = [Contrast(off=column) for column in sorted(_span(columns) - named - {0})]
    return (*mains, *chains, *higher)


def _span(columns: Sequence[int]) -> set[int]:
    """Each product of columns."""
    products = {0}
    for column in columns:
        if column not in products:
            products |= {column ^ other for other in products}
    return products


def weights_of(grid: Grid, contrast: Contrast) -> dict[str, float]:
    """Weights by cell: the mean of the plus runs minus the mean of the minus runs."""
    share = 2 / len(grid.planned)
    return {grid.name(cell): -share if contrast.off >> i & 1 else share for i, cell in enumerate(sorted(grid.planned))}


def resolution(grid: Grid) -> str:
    """`IV` where two effects of two components share a contrast; else `V or more`."""
    return "IV" if any(len(item.pairs) > 1 for item in contrasts_of(grid)) else "V or more"


def chain_text(pairs: Sequence[tuple[str, ...]]) -> str:
    """Return `a:b + c:d`: the terms of a contrast."""
    return " + ".join(":".join(pair) for pair in pairs)
