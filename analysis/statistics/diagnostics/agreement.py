"""Agreement of the seeds: why intervals by block and pooled intervals differ.

The numbers choose no test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan, sqrt

import numpy as np
import pandas as pd
from scipy.special import fdtr, fdtrc

from branchwise.analysis.declared.cells import factorial_cells
from branchwise.analysis.declared.factors import MAX_JOINED
from branchwise.analysis.statistics.attribution import Attribution, ComponentRow
from branchwise.analysis.statistics.model import holm
from branchwise.analysis.statistics.spread import FloatArray

WIDER = 2.0  # times the pooled standard error, from where it is reported


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement of the seeds on a component; NaN where the table is too small.

    P-values are adjusted over the components (Holm).

    Attributes:
        se_ratio: Standard error of its Shapley value by block over the pooled error.
        varies: F of block x component on the blocks that have each cell.
        off_sd: Residual SD of the cells without it.
        on_sd: Residual SD of the cells with it.
    """

    component: str
    se_ratio: float
    varies: float = nan
    varies_p: float = nan
    off_sd: float = nan
    on_sd: float = nan
    spread_p: float = nan


def agreement(attribution: Attribution, results: pd.DataFrame) -> tuple[Agreement, ...]:
    """A row per component; the tests take the blocks that have each cell of the factorial."""
    if not attribution.fit.inference.paired:
        return ()
    components = [row.component for row in attribution.rows]
    cells = factorial_cells(components) if len(components) <= MAX_JOINED else ()
    complete = _balanced_blocks(attribution, results, cells)
    rows = [_component(row, complete, i) for i, row in enumerate(attribution.rows)]
    varies, scatter = holm([row.varies_p for row in rows]), holm([row.spread_p for row in rows])
    unit = attribution.fit.unit
    return tuple(
        replace(row, varies_p=p, spread_p=q, off_sd=unit * row.off_sd, on_sd=unit * row.on_sd)
        for row, p, q in zip(rows, varies, scatter, strict=True)
    )


def _balanced_blocks(attribution: Attribution, results: pd.DataFrame, cells: Sequence[str]) -> FloatArray:
    """(blocks, cells) improvements of complete blocks; no rows where a cell never finished."""
    factorial = results[results["kind"] != "baseline"]
    y = attribution.improvement(factorial[attribution.outcome.name].to_numpy(dtype=float)) / attribution.fit.unit
    table = pd.DataFrame({"block": factorial["block"], "cell": factorial["cell"], "y": y})
    wide = table.pivot_table(index="block", columns="cell", values="y")
    if any(cell not in wide for cell in cells):
        return np.empty((0, len(cells)))
    result: FloatArray = wide[list(cells)].dropna().to_numpy()
    return result - result[:1, :1]  # a common offset would cost digits


def _component(row: ComponentRow, complete: FloatArray, i: int) -> Agreement:
    se_ratio = row.effect.se / row.pooled.se if row.pooled.se > 0 and row.effect.has_interval else nan
    result = Agreement(component=row.component, se_ratio=se_ratio)
    blocks, cells = complete.shape
    if blocks < 2 or cells < 4:
        return result
    on = np.array([bool(mask >> i & 1) for mask in range(cells)])
    squares, all_squares = _interaction(complete, on), _residual(complete)
    freedom, rest = blocks - 1, (blocks - 1) * (cells - 2)
    varies = _over(squares / freedom, (all_squares - squares) / rest)
    half = (blocks - 1) * (cells // 2 - 1)
    off, with_it = _residual(complete[:, ~on]) / half, _residual(complete[:, on]) / half
    ratio = _over(off, with_it)
    return replace(
        result, varies=varies, varies_p=float(fdtrc(freedom, rest, varies)), off_sd=sqrt(off), on_sd=sqrt(with_it),
        spread_p=min(1.0, 2 * float(min(fdtr(half, half, ratio), fdtrc(half, half, ratio)))),
    )  # fmt: skip


def _residual(table: FloatArray) -> float:
    """Sum of squares that remains after rows and columns."""
    residuals = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    return float((residuals**2).sum())


def _interaction(table: FloatArray, on: np.ndarray) -> float:
    """Sum of squares of block x component: of the component's difference over the blocks."""
    effects = table[:, on].mean(1) - table[:, ~on].mean(1)
    return float(((effects - effects.mean()) ** 2).sum() * table.shape[1] / 4)


def _over(top: float, bottom: float) -> float:
    return top / bottom if bottom > 0 else nan


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def agreement_notes(rows: Sequence[Agreement], alpha: float) -> list[str]:
    """A note with numbers for each component whose seeds or cells disagree."""
    texts = []
    for row in rows:
        reasons: Mapping[str, bool] = {
            f"its standard error by block is {row.se_ratio:.1f} times the pooled one": row.se_ratio > WIDER,
            f"its effect differs between blocks (block x component F = {row.varies:.1f}, {_p(row.varies_p)})":
                row.varies_p <= alpha,
            f"cells without it scatter with an SD of {row.off_sd:.3f}, cells with it with {row.on_sd:.3f} "
            f"({_p(row.spread_p)})": row.spread_p <= alpha,
        }  # fmt: skip
        sentences = [text for text, true in reasons.items() if true]
        if sentences:
            texts.append(
                f"{row.component}: {'; '.join(sentences)}. Intervals by block allow for it, pooled ones do not."
            )
    return texts
