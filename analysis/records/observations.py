"""Input of the statistics: a run's arms and what was declared of them, now and at each look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from branchwise.analysis.declared.claims import Claim
from branchwise.analysis.declared.factors import Grid
from branchwise.analysis.declared.inference import DEFAULT, Inference
from branchwise.analysis.declared.looks import Looks
from branchwise.analysis.declared.outcomes import Outcome


@dataclass(frozen=True, kw_only=True)
class Observations:
    """The arms that effects are estimated from, and what was declared of them.

    Attributes:
        results: A row for each finished arm, with its `arm`, `cell`, `block`, `kind` (`baseline` for those outside the
            factorial) and a column for each outcome.
        failed: The same for each arm that ran without a value.
        grid: The components, their levels and the planned cells.
        outcomes: What effects are estimated on, the primary first.
        inference: How effects are tested.
        claims: What is tested on them besides the effects.
        unfinished: How far an unfinished plan is, such as "4 of 10 blocks"; then no hypothesis is tested. Empty at the
            end of the plan.
        budgets: Values on the way: a row for each `arm` and `step`, a column for each outcome that has some.
    """

    results: pd.DataFrame
    failed: pd.DataFrame
    grid: Grid
    outcomes: Sequence[Outcome]
    inference: Inference = DEFAULT
    claims: Sequence[Claim] = ()
    unfinished: str = ""
    budgets: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def arms(self) -> pd.DataFrame:
        """The finished and the failed arms, in their order."""
        return pd.concat([self.results, self.failed]).sort_index()

    @property
    def factorial_failed(self) -> pd.DataFrame:
        """The failed arms of the components' cells."""
        rows: pd.DataFrame = self.failed[self.failed["kind"] != "baseline"]
        return rows


@dataclass(frozen=True, kw_only=True)
class Look:
    """A run as it was at a look.

    Attributes:
        blocks: Finished blocks.
        arms: Arms of the run up to there.
        observed: What was there to estimate effects from.
    """

    blocks: int
    arms: int
    observed: Observations


@dataclass(frozen=True, kw_only=True)
class RunAtLooks:
    """A run that declared looks, as far as it is.

    Attributes:
        looks: As declared.
        reached: The run at each look that it has reached, in order; no more are asked for than are needed.
        now: What there is now to estimate effects from.
        finished: Blocks that are complete now.
    """

    looks: Looks
    reached: Iterable[Look]
    now: Observations
    finished: int
