"""What is said of a run that grew out of another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from branchwise.analysis.records.run import Run
from branchwise.analysis.statistics.claims.verdicts import Verdict
from branchwise.analysis.statistics.model import ALPHA
from branchwise.analysis.statistics.sequential.boundaries import error_of

MIN_BLOCKS = 3  # below, the levels of a second look are not computed


def grew(run: Run) -> bool:
    """Whether seeds were added to those that had been looked at."""
    extends = run.outline.extends
    return bool(extends) and len(run.outline.blocks) > int((extends or {})["blocks"])


def judged_before(run: Run) -> tuple[str, ...]:
    """The components that the extended run has judged: a further baseline or component gives no second chance."""
    extends = run.outline.extends or {}
    added = (*extends.get("components", ()), *extends.get("baselines", ()))
    return tuple(name for name in run.components if name not in added) if added and not grew(run) else ()


def exploratory(run: Run, verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts, none of which confirms anything where seeds were added after a verdict."""
    if not grew(run):
        return tuple(verdicts)
    return tuple(
        verdict if verdict.status == "not judged" else replace(verdict, status="exploratory") for verdict in verdicts
    )


def notes(run: Run) -> list[str]:
    """Where the arms come from, and what that does to the verdicts."""
    found = []
    if reused := run.manifest.get("reused"):
        taken = ", ".join(f"{number} of {source}" for source, number in reused.items())
        found.append(f"Finished arms were taken from other runs ({taken}), equal in settings, seed, code and machine.")
    extends = run.outline.extends
    if not extends:
        return found
    name, before, now = extends["run"], int(extends["blocks"]), len(run.outline.blocks)
    if grew(run):
        rate = ""
        if before >= MIN_BLOCKS:
            error = error_of((before, now), (ALPHA, ALPHA))
            rate = f" errs in up to {error:.1%} of null runs ({before} blocks, then {now}), not {ALPHA:.0%}"
        found.append(
            f"Exploratory: {name} was judged after {before} blocks, and adding seeds after a verdict"
            f"{rate or ' errs more often than 5%'}. To confirm, run fresh seeds alone: branchwise extend "
            f"{name} --blocks N --confirm."
        )
    added = [*extends.get("components", ()), *extends.get("baselines", ())]
    if added:
        found.append(
            f"This run adds {', '.join(added)} to {name}: its verdicts are a family of their own, and those of {name} "
            "stay as they were."
        )
    return found
