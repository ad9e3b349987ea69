"""Run an arm here, without Ray and without a run folder: for `try` and `init --try`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.space import Space
from branchwise.trainables import Arm, Context, Result


@dataclass(frozen=True, kw_only=True)
class ArmTrial:
    """The result of a single arm. `folder` has what it wrote."""

    result: Result
    log: str
    folder: Path

    @property
    def value(self) -> float | None:
        return self.result.values.get("value") if self.result.status == "done" else None


def arm_named(space: Space, name: str | None) -> Arm:
    """The arm of a space with this name; the full method on the first seed by default.

    Raises UserError.
    """
    arms = space.design.arms(space.method, {search.cell: ({},) for search in space.design.searches()})
    if name is None:
        return next((arm for arm in arms if not arm.patch), arms[0])
    for arm in arms:
        if arm.name == name:
            return arm
    names = [arm.name for arm in arms]
    raise UserError(f"--arm {name}: there is no such arm; there are {', '.join(names[:8])}{', ...' * (len(names) > 8)}")


def run_arm(space: Space, arm: Arm, scratch: Path) -> ArmTrial:
    """Run an arm to its end, in the empty folder `scratch`.

    Raises UserError if it cannot run separately.
    """
    if arm.teacher is not None or space.module.features_key(arm.spec) is not None:
        raise UserError(
            f"{space.method.file}: {space.trainable} needs a teacher or a feature net, so no arm runs alone"
        )
    results: list[Result] = []
    folders: list[Path] = []
    logs: list[str] = []

    def finish(arm: Arm, result: Result, folder: Path | None) -> None:
        results.append(result)
        folders.extend([folder] if folder else [])

    context = Context(
        rank=0,
        world_size=1,
        device="cuda:0" if space.resources.gpus_per_trial else "cpu",
        threads=space.resources.cpus_per_trial,  # as in a run, so that the arm repeats
        scratch=scratch,
        teacher=None,
        report=lambda progress: None,
        save=lambda content: None,
        load=lambda: None,
        finish=finish,
        log=lambda arm, text: logs.append(text),
    )
    try:
        space.module.run_cohort([arm], context)
    except (RuntimeError, OSError) as error:  # of the program: a run would retry it
        results.append(Result(status="failed", error=str(error)))
    folder = next(iter(folders), scratch / arm.name)
    return ArmTrial(result=results[0], log="".join(logs), folder=folder)
