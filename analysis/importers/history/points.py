"""The logged values of a metric, run by run, and how a reader collects them."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Points:
    """Values of a metric in the order they were logged: row of the run, step and value."""

    rows: Ints
    steps: Floats
    values: Floats

    def take(self, positions: Ints | NDArray[np.bool_]) -> Points:
        """The points at these positions, or where a mask is true."""
        return Points(rows=self.rows[positions], steps=self.steps[positions], values=self.values[positions])

    def sorted(self) -> Points:
        """The points by run and step; those of the same step stay in their order."""
        return self.take(np.lexsort((self.steps, self.rows)))


NO_POINTS = Points(rows=np.zeros(0, np.int64), steps=np.zeros(0), values=np.zeros(0))


@dataclass(frozen=True, kw_only=True)
class History:
    """The histories of a source's metrics.

    Attributes:
        load: The points of a column; their rows are those of the reader's table.
        rows: The reader's row of each row that remains of its table; None for all of them.
        is_loaded: Whether the points are in memory, so that they may be inspected without being chosen from.
        summary: What the tool calls the value that it keeps of each metric, where scripts may set it to another than
            the last; "" where the table holds the last.
    """

    load: Callable[[str], Points]
    rows: Ints | None = None
    is_loaded: bool = False
    summary: str = ""

    def take(self, mask: NDArray[np.bool_]) -> History:
        rows = np.arange(len(mask)) if self.rows is None else self.rows
        return replace(self, rows=rows[mask])

    def points(self, name: str) -> Points:
        """The points of a column, sorted; their rows are those of the table as it is now."""
        points = self.load(name).sorted()
        if self.rows is None:
            return points
        size = max(int(points.rows.max(initial=-1)), int(self.rows.max(initial=-1))) + 1
        new = np.full(size, -1, dtype=np.int64)
        new[self.rows] = np.arange(len(self.rows))
        rows = new[points.rows]
        return replace(points, rows=rows).take(rows >= 0).sorted()


@dataclass
class MetricLog:
    """Collector of values by metric, in typed arrays: of millions, each needs 24 bytes."""

    _rows: dict[str, array[int]] = field(default_factory=lambda: defaultdict(lambda: array("q")))
    _steps: dict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    _values: dict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    _exact: dict[tuple[str, int], tuple[float, int]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return list(self._rows)

    def add(self, name: str, row: int, step: float, value: float) -> None:
        """Add a value. Integers are stored exactly where they are the last."""
        try:
            number = float(value)
        except OverflowError:  # an integer beyond the largest double
            number = math.copysign(math.inf, value)
        self._rows[name].append(row)
        self._steps[name].append(step)
        self._values[name].append(number)
        if type(value) is int:
            self._exact[name, row] = (step, value)

    def extend(self, name: str, row: int | Ints, steps: Sequence[float] | Floats, values: Iterable[float]) -> None:
        """Add values of a single run, or of the run in `row` for each of them."""
        many = np.asarray(values, dtype=np.float64)
        rows = np.full(len(many), row, dtype=np.int64) if isinstance(row, int) else np.asarray(row, dtype=np.int64)
        self._rows[name].frombytes(rows.tobytes())
        self._steps[name].frombytes(np.asarray(steps, dtype=np.float64).tobytes())
        self._values[name].frombytes(many.tobytes())

    def points(self, name: str) -> Points:
        if name not in self._rows:
            return NO_POINTS
        return Points(
            rows=np.array(self._rows[name], dtype=np.int64),
            steps=np.array(self._steps[name], dtype=np.float64),
            values=np.array(self._values[name], dtype=np.float64),
        )

    def last(self, name: str) -> dict[int, float]:
        """The value at the largest step of each run with values; of duplicates, the last logged."""
        points = self.points(name).sorted()
        if not len(points.rows):
            return {}
        ends = np.flatnonzero(np.append(points.rows[1:] != points.rows[:-1], True))
        results: dict[int, float] = {}
        for end in ends:
            row, value = int(points.rows[end]), float(points.values[end])
            step, exact = self._exact.get((name, row), (math.nan, 0))
            results[row] = exact if step == points.steps[end] and float(exact) == value else value
        return results
