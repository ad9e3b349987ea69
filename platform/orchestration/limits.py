"""Limits of a sweep, and its usage."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from pydantic import Field, PositiveInt

from branchwise.trainables.runtime.settings import Strict

Amount = Annotated[float, Field(gt=0, strict=False)]


class Limits(Strict):
    """The limits of a sweep in all, however often it is resumed.

    It stops before a cohort would exceed one.
    """

    hours: Amount | None = None  # of wall-clock time
    gpu_hours: Amount | None = None
    cost: Amount | None = None  # by the price of an hour in planning/gpus.yaml
    failures: PositiveInt | None = None  # failed arms, after which no other begins


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Usage of a sweep, so far or expected."""

    hours: float = 0.0
    gpu_hours: float = 0.0
    cost: float = 0.0
    failures: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    def text(self) -> str:
        """`0.5 h, 2.0 GPU hours, cost 7`."""
        parts = [f"{self.hours:.3g} h"]
        parts += [f"{self.gpu_hours:.3g} GPU hours"] if self.gpu_hours else []
        parts += [f"cost {self.cost:.3g}"] if self.cost else []
        return ", ".join(parts)


def spent_of(manifest: Mapping[str, Any]) -> Usage:
    """Return the usage in a run's manifest; failures are counted anew when it is resumed."""
    stored = manifest.get("spent") or {}
    hours, gpu_hours, cost = (float(stored.get(key, 0.0)) for key in ("hours", "gpu_hours", "cost"))
    return Usage(hours=hours, gpu_hours=gpu_hours, cost=cost)


def exceeded_limit(limits: Limits, spent: Usage, following: Usage | None = None) -> str:
    """Return why the sweep must stop before it takes what follows; empty if it may go on."""
    if limits.failures is not None and spent.failures >= limits.failures:
        return f"limits.failures: {spent.failures} arms failed, and no arm starts after {limits.failures} failures"
    total = spent + (following or Usage())
    for name, unit in (("hours", "h"), ("gpu_hours", "GPU hours"), ("cost", "(cost)")):
        limit, before, after = getattr(limits, name), getattr(spent, name), getattr(total, name)
        if limit is not None and after > limit:
            return (
                f"limits.{name}: {before:.3g} of {limit:g} {unit} are spent, and the next cohort is expected to take "
                f"{after - before:.3g}"
            )
    return ""


@dataclass(frozen=True, kw_only=True)
class Meter:
    """The usage of a running sweep, for its limits; plain, since it travels to the cluster.

    Attributes:
        limits: Those of the space.
        before: Usage of earlier sessions.
        started_at: When this session started, as `time.time()` has it.
        gpus: Of a trial.
        price: Of a GPU for an hour, 0 if unknown.
    """

    limits: Limits
    before: Usage
    started_at: float
    gpus: float = 0.0
    price: float = 0.0

    @classmethod
    def without_limits(cls) -> Meter:
        return cls(limits=Limits(), before=Usage(), started_at=time.time())

    def spent(self, trial_seconds: float, failures: int = 0) -> Usage:
        """All that was taken so far, `trial_seconds` of this session's trials."""
        return self.before + replace(self.trial_usage(trial_seconds), hours=self.hours(), failures=failures)

    def hours(self) -> float:
        """The hours of this session; 0 rather than less if the clock was set back."""
        return max(0.0, time.time() - self.started_at) / 3600

    def trial_usage(self, seconds: float) -> Usage:
        """Return the usage of a trial of so many seconds."""
        gpu_hours = self.gpus * seconds / 3600
        return Usage(hours=seconds / 3600, gpu_hours=gpu_hours, cost=self.price * gpu_hours)

    def exceeded_limit(self, trial_seconds: float, following: float, failures: int) -> str:
        """Return why the sweep must stop before a trial of `following` seconds; empty otherwise."""
        return exceeded_limit(self.limits, self.spent(trial_seconds, failures), self.trial_usage(following))
