"""The output of a sweep, and of measuring, before they start and after they end."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import rich.table
import yaml
from rich.console import Console
from rich.text import Text

from branchwise.orchestration.input.messages import first_names
from branchwise.orchestration.limits import spent_of
from branchwise.orchestration.monitoring.progress import duration
from branchwise.orchestration.monitoring.run_state import RunState
from branchwise.orchestration.planning.earlier_time import earlier_time
from branchwise.orchestration.planning.plan import Plan
from branchwise.orchestration.planning.plan_text import describe, describe_estimate, measured_share
from branchwise.orchestration.planning.remeasuring import RemeasurePlan
from branchwise.orchestration.run_folder.teachers import SweepTeacher
from branchwise.trainables.runtime.run_folder import Measurements

if TYPE_CHECKING:  # they import pandas and matplotlib
    from branchwise.analysis.report.build import Summary


def print_plan(rows: Iterable[tuple[str, str]], console: Console) -> None:
    """Print the rows of a plan."""
    grid = rich.table.Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    before = ""
    for name, text in rows:
        grid.add_row("" if name == before and name in ("detects", "price") else name, text)
        before = name
    console.print(grid, highlight=False)


def measuring_rows(plan: RemeasurePlan) -> Iterator[tuple[str, str]]:
    """Yield the lines of a plan of measuring: a name and a text."""
    suffix = {0: "", 1: ", and their teacher"}.get(len(plan.teachers), ", and their teachers")
    yield "models", f"{len(plan.arms)} students of {plan.run.name}{suffix}"
    for number, measure in enumerate(plan.measures):
        message = ", ".join(f"{key}={value}" for key, value in measure.settings.items()) or "as in the sweep"
        yield "" if number else "measures", f"{measure.key}  {message}"
    yield "to measure", f"{plan.remaining} of {plan.total}, {plan.slots} at a time"
    for spec in plan.nets:
        yield "feature net", f"{plan.space.module.features_key(spec)}, to be trained"
    expected = f"about {duration(plan.seconds)} on this machine, start-up aside"
    yield "time", "not estimated for GPUs" if plan.space.resources.gpus_per_trial else expected
    yield "results", Measurements(plan.run).files.root


def plan_rows(plan: Plan, obstacle: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of a plan: a name and a text."""
    space, design = plan.space, plan.space.design
    yield "sweep", f"{space.name} ({design.kind}, {space.trainable})"
    yield from describe(plan)
    for text in _sensitivity(plan):
        yield "detects", text
    for text in _price(plan):
        yield "price", text
    for teacher in plan.teachers:
        yield "teacher", f"{teacher.key}, {_teacher(plan, teacher)}"
    for arm in plan.damaged:
        yield "damaged", f"arms/{arm}.json; the arm runs again"
    yield from space.module.describe_models(space.spec)
    if plan.target:
        yield from describe_estimate(plan, plan.target)
    yield "time", _time(plan)
    if obstacle:
        yield "not there" if plan.target else "not here", obstacle
    for notice in space.notices:
        yield "notice", notice
    yield "results", plan.run.root


def _time(plan: Plan) -> str:
    """The expected duration, and the basis of the estimate."""
    if plan.device is None:
        return "not estimated: GPUs that planning/gpus.yaml does not list; --for plans for those that it does"
    if plan.total and not plan.is_complete and not plan.arm_seconds:
        earlier = earlier_time(plan)
        if earlier is None:
            return "not estimated: how long an arm takes is not known before the first one"
        complete, begin = duration(earlier.seconds + plan.startup_seconds), duration(plan.startup_seconds)
        return f"about {complete} on this machine, {begin} of it start-up, by the arms of {earlier.run}"
    where = f"on {plan.target.count} x {plan.device.name}" if plan.target else "on this machine"
    work, start_up = plan.teacher_seconds + plan.arm_seconds, plan.startup_seconds
    return f"about {duration(work + start_up)} {where}, {duration(start_up)} of it start-up{_basis(plan)}"


def _basis(plan: Plan) -> str:
    """The rates of this machine that the time rests on."""
    if plan.target or plan.device is None or not plan.device.rates or not plan.teacher_seconds + plan.arm_seconds:
        return ""  # the cost estimate of a target shows its rates
    share = measured_share(plan)
    if share > 0.99:
        return ", by rates that `branchwise calibrate` measured"
    return f", {share:.0%} of it by rates of these very nets; `branchwise calibrate --space FILE` measures the others"


def _teacher(plan: Plan, teacher: SweepTeacher) -> str:
    """Return the remaining work and, with multiple teachers, this teacher's blocks or cells."""
    duration_text = f", about {duration(plan.teacher_estimate(teacher).total)}" if plan.device else ""
    if teacher.evaluation is not None:
        message = "reused"
    elif teacher.trained:
        message = f"reused; to be evaluated with these settings{duration_text}"
    else:
        message = f"to be trained{duration_text}"
    blocks = first_names([str(block) for block in teacher.blocks])
    cells_text = f"blocks {blocks}" if teacher.blocks else first_names(teacher.cells)
    return message if len(plan.teachers) == 1 else f"{message}; of {cells_text}"


def _sensitivity(plan: Plan) -> list[str]:
    """The effects that the blocks can detect, by the noise of the nearest earlier run here."""
    design = plan.space.design
    if not plan.arms:
        return []
    from branchwise.analysis.declared.contrasts import headline_effect
    from branchwise.analysis.statistics import power

    grid = design.grid()
    if not design.is_testable():
        return []
    contrasts = (headline_effect(grid, i) for i in range(len(grid.components)))
    tested = power.summarize_tests([(effect, weights) for effect, weights in contrasts if effect])
    if not tested:
        return []
    local = None if design.across else plan.storage.local  # each data set has separate noise
    tree = yaml.safe_load(plan.space.resolved())
    noise, repeats = power.earlier_noise(local, tree, tested.effect, len(grid.planned)) if local else (None, None)
    further = design.further_hypotheses(plan.space.method)
    planned = power.sensitivity(tested, design.max_blocks, noise, further, design.alpha)
    return power.describe(planned, repeats)


def _price(plan: Plan) -> list[str]:
    """The expected blocks with the declared looks by effect size, next to as many without looks."""
    looks = plan.space.design.looks
    if not looks or plan.resumed:
        return []
    from branchwise.analysis.statistics.sequential.pricing import price

    design = plan.space.design
    arms = plan.total // looks.max
    seconds = plan.arm_seconds / looks.max
    hypotheses = len(design.component_names()) + design.further_hypotheses(plan.space.method)
    duration_text = f", {duration(looks.max * seconds)}" if seconds else ""
    lines = [
        f"Where all {hypotheses} hypotheses have such an effect ({looks.max} blocks: {plan.total} arms{duration_text}):"
    ]
    for size, blocks, power, fixed in price(looks, hypotheses, alpha=design.alpha):
        estimate = f", {duration(blocks * seconds)}" if seconds else ""
        lines.append(
            f"{size:g} SD: {blocks:.1f} blocks, {blocks * arms:.0f} arms{estimate}; decided {power:.0%} (without looks "
            f"{fixed:.0%})"
        )
    return [*lines, "An SD is that of the effect between blocks."]


def print_outcome(
    plan: Plan, counts: Mapping[str, int], summary: Summary, seconds: float, storage: str | None, console: Console
) -> None:
    """Print the table, the failures, and the location of all files."""
    from branchwise.analysis.report.terminal import show  # it imports pandas and matplotlib

    show(summary, console, plan.run.report_path())
    stopped = f", {counts['stopped']} stopped at a rung" if counts["stopped"] else ""
    console.print(f"{counts['done']} of {plan.total} arms done{stopped} in {duration(seconds)}.", highlight=False)
    failed = {status: number for status, number in counts.items() if status not in ("done", "stopped") and number}
    if failed:
        others = ", ".join(f"{number} {status}" for status, number in failed.items())
        message = Text.assemble((others, "bold red"), f"; see the column `error` of {plan.run.table_path('arms')}")
        console.print(message, highlight=False)
    if counts["missing"]:
        console.print(f"To resume: {resuming(plan, storage)}", highlight=False, soft_wrap=True)
    if best := plan.run.best_path():
        console.print(f"Ablate its best settings: branchwise run {best}", highlight=False, soft_wrap=True)
    console.print(f"results: {plan.run.root}", highlight=False, soft_wrap=True)


def print_measured(
    plan: RemeasurePlan,
    missing: int,
    same: tuple[int, int] | None,
    summary: Summary,
    seconds: float,
    console: Console,
) -> None:
    """Print the result of measuring.

    `same`: the number of models with the sweep's values, and of those measured as in the sweep.
    """
    from branchwise.analysis.report.terminal import rich_table

    for table in summary.measures:
        if table.rows:
            console.print(rich_table(table))
    if same is not None:
        console.print(f"As in the sweep: {same[0]} of {same[1]} students equal, bit for bit.", highlight=False)
    console.print(f"{plan.total - missing} of {plan.total} measurements made in {duration(seconds)}.", highlight=False)
    if missing:
        message = f"; see {Measurements(plan.run).work().path('logs')}"
        console.print(Text.assemble((f"{missing} missing", "bold red"), message))
    console.print(f"report: {plan.run.report_path()}", highlight=False, soft_wrap=True)


def print_limited(
    plan: Plan, counts: Mapping[str, int], summary: Summary, limit: str, storage: str | None, console: Console
) -> None:
    """Print the results of a sweep that a limit has stopped, what it used, and how to continue."""
    from branchwise.analysis.report.terminal import show

    show(summary, console, plan.run.report_path())
    console.print(f"Ended at a limit: {limit}.", highlight=False, markup=False)
    elapsed = spent_of(plan.run.read_manifest()).text()
    console.print(f"{counts['done']} of {plan.total} arms done; the run has taken {elapsed}.", highlight=False)
    more = f"{resuming(plan, storage)} --max-hours H" if limit.startswith("limits.hours") else resuming(plan, storage)
    console.print(f"To go on: {more}", highlight=False, soft_wrap=True, markup=False)


def print_failed(plan: Plan, text: str, storage: str | None, resumable: bool, program: str) -> None:
    """Print what failed, what is stored, and how to resume; `program` is the command's name."""
    try:
        number = len(plan.run.record_names())
        stored = f"{number} finished {'arm is' if number == 1 else 'arms are'} kept"
    except OSError:  # the storage may be unavailable
        stored = "Finished arms are kept"
    advice = f"To resume: {resuming(plan, storage)}" if resumable else "Resuming would end in the same way"
    print(f"{program}: {text}. {stored}. {advice}", file=sys.stderr)


def print_interrupted(plan: Plan, storage: str | None, console: Console) -> None:
    """Print what is stored, and how to resume."""
    state = RunState(plan.run)
    with suppress(OSError):  # the storage is unavailable as well
        state.refresh()
    console.print("Interrupted. Finished arms are kept.")
    running = [f"{name} (at {item['phase']} {item['step']}/{item['steps']})" for name, item in state.running.items()]
    if running:
        console.print(f"Continues from its last checkpoint: {', '.join(running)}", highlight=False)
    console.print("To resume:")
    console.print(f"  {resuming(plan, storage)}", highlight=False, soft_wrap=True)


def resuming(plan: Plan, storage: str | None) -> str:
    """The command that resumes the sweep of `plan`, from any working directory."""
    program = Path(sys.argv[0]).resolve()
    as_script = program.suffix == ".py"
    on_path = shutil.which("branchwise")
    installed = "branchwise" if on_path and Path(on_path).resolve() == program else str(program)
    command = [sys.executable, str(program), "--resume"] if as_script else [installed, "resume"]
    command.append(plan.run.name)
    return shlex.join([*command, *(["--storage", plan.storage.root] if storage else [])])
