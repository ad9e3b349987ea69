"""Rules for testing effects, as a run declares them: paired by seed or not, and the level."""

from __future__ import annotations

from dataclasses import dataclass

from branchwise.run_files.schemas import ALPHA as ALPHA
from branchwise.run_files.schemas import MAX_ALPHA as MAX_ALPHA


@dataclass(frozen=True, kw_only=True)
class Inference:
    """The rules of each test and interval of a run.

    Attributes:
        paired: Whether runs of different cells are compared within a seed; else by Welch's t.
        alpha: The error rate of the tests, shared by a family; intervals are at 1 - alpha.
    """

    paired: bool = True
    alpha: float = ALPHA

    @property
    def level(self) -> float:
        """The confidence level of intervals."""
        return 1 - self.alpha

    @property
    def percent(self) -> str:
        """The confidence level as text: `95%`."""
        return percent(self.level)

    @property
    def error(self) -> str:
        """The error rate as text: `5%`."""
        return percent(self.alpha)

    def __str__(self) -> str:
        return f"alpha {self.alpha:g}, {'paired' if self.paired else 'unpaired'}"

    @property
    def canonical(self) -> tuple[str, ...]:
        """The rules that a run seals: those that differ from the defaults."""
        return (f"alpha is {self.alpha!r}",) if self.alpha != ALPHA else ()

    @property
    def method(self) -> str:
        """The name of the comparison in notes of tables."""
        return "by block" if self.paired else "unpaired (Welch)"


DEFAULT = Inference()


def percent(fraction: float) -> str:
    """A fraction as text: `99.5%`, without the noise of binary fractions."""
    return f"{100 * fraction:.10g}%"


def check_alpha(alpha: float) -> float:
    """Return the level of a test as it is.

    Raises:
        ValueError: It is not a number in (0, 0.5].
    """
    if not 0 < alpha <= MAX_ALPHA:
        raise ValueError(f"must be above 0 and at most {MAX_ALPHA}, such as 0.05, not {alpha}")
    return alpha
