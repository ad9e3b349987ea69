"""The second stage of a screening: the full factorial of its survivors, on fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING, Any, Literal

import yaml

from branchwise.analysis.declared.fractions import MIN_BLOCKS
from branchwise.orchestration.designs.screening import Screening
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.yaml_file import to_yaml
from branchwise.orchestration.run_folder.plan_file import read_plan, started_run
from branchwise.orchestration.space import Space, parse_space
from branchwise.trainables.runtime.processes import scratch_folder
from branchwise.trainables.runtime.run_folder import RunFolder
from branchwise.trainables.runtime.settings import patched
from branchwise.trainables.runtime.storage import Storage

if TYPE_CHECKING:  # it imports pandas
    from branchwise.analysis.statistics.findings import Findings

Others = Literal["full", "off"]
MAX_NAME = 64


def follow_up_space(
    storage: Storage, name: str, components: Sequence[str] = (), others: Others = "full", overrides: Sequence[str] = ()
) -> Space:
    """Return the space of the follow-up of a finished screening. Writes no files.

    Args:
        storage: the location of the screening.
        name: of its run.
        components: those to follow up, five at most; by default the survivors, with a significant main effect.
        others: whether the components that are omitted are held at full or off.
        overrides: KEY=VALUE, laid over the space, as claims or more blocks.

    Raises:
        UserError: when the screening does not exist, is not finished, or has no survivors.
    """
    run = started_run(storage, name, "run", hint="`branchwise list` shows its runs")
    screening, _ = read_plan("run", run, trust=False, dry_run=False)
    design = screening.design
    if not isinstance(design, Screening):
        raise UserError(f"run {name}: a run of kind {design.kind}; only a screening has a follow-up")
    findings = _findings(run)
    if not len(findings.run.results):
        raise UserError(f"run {name}: no arm has finished; resume it first: branchwise resume {name}")
    if findings.run.missing:
        raise UserError(
            f"run {name}: {len(findings.run.missing)} of its arms are missing; resume it first: "
            f"branchwise resume {name}"
        )
    chosen = _chosen(name, components, findings)
    tree = _tree(name, screening, design, findings, chosen, others)
    folder = run.read_plan().get("space_folder", "")
    return parse_space(f"follow-up of {name}", to_yaml(tree).encode(), overrides, folder)


def _findings(run: RunFolder) -> Findings:
    from branchwise.analysis.records.damage import RunFolderError
    from branchwise.analysis.records.folder import load_run, parts
    from branchwise.analysis.statistics.findings import analyze_part

    try:
        with scratch_folder() as scratch:
            run.copy_for_report(scratch / run.name)
            return analyze_part(parts(load_run(scratch / run.name))[0])
    except RunFolderError as error:
        raise UserError(str(error)) from error


def _chosen(name: str, requested: Sequence[str], findings: Findings) -> list[str]:
    """The components to follow up, in their order."""
    from branchwise.analysis.statistics.attribution import MAX_SURVIVORS, survivors

    rows = findings.headline.rows
    names = [row.component for row in rows]
    ranking = ", ".join(row.component for row in sorted(rows, key=lambda row: -abs(row.effect.value)))
    if not requested:
        chosen = survivors(rows, findings.run.inference.alpha)
        if not chosen:
            raise UserError(
                f"run {name}: no main effect is significant, so nothing survives; to follow up a ranking, name "
                f"at most {MAX_SURVIVORS} components with --survivors (by size: {ranking})"
            )
        return chosen
    if unknown := [item for item in requested if item not in names]:
        raise UserError(f"--survivors {','.join(requested)}: {unknown[0]} is no component of {name}; its are {ranking}")
    if len(set(requested)) < len(requested) or len(requested) > MAX_SURVIVORS:
        raise UserError(
            f"--survivors {','.join(requested)}: {len(requested)} names; at most {MAX_SURVIVORS} different ones"
        )
    return [entry for entry in names if entry in requested]


def _tree(
    name: str, screening: Space, design: Screening, findings: Findings, chosen: Sequence[str], others: Others
) -> dict[str, Any]:
    """The screening's space with the new design, and the omitted components off if requested."""
    from branchwise.analysis.statistics.screening import ranks

    tree: dict[str, Any] = yaml.safe_load(screening.resolved())
    if others == "off":
        settings: Mapping[str, Any] = {
            key: value
            for item, component in design.components.items()
            if item not in chosen
            for key, value in component.patch(component.factor(item).reference).items()
        }
        tree |= patched(screening.spec, settings).model_dump(mode="json")
    rows = findings.headline.rows
    effects = {
        row.component: {"rank": int(rank), "value": row.effect.value}
        | ({} if isnan(row.p_holm) else {"p_holm": row.p_holm})
        for row, rank in zip(rows, ranks([row.effect for row in rows]), strict=True)
        if row.effect.has_value
    }
    if missing := [entry for entry in chosen if entry not in effects]:
        raise UserError(f"run {name}: the main effect of {missing[0]} is not known; resume the screening first")
    components = tree["design"]["components"]
    return tree | {
        "name": f"{screening.name[: MAX_NAME - 10]}-follow-up",
        "design": {
            "kind": "factorial",
            "components": {element: components[element] for element in chosen},
            "baselines": list(design.baselines),
            "outcomes": list(design.outcomes),
            "blocks": max(design.max_blocks, MIN_BLOCKS),
            "first_seed": design.first_seed + design.max_blocks,
            "alpha": design.alpha,
            "follow_up_of": {
                "run": name,
                "seeds": list(range(design.first_seed, design.first_seed + design.max_blocks)),
                "others": others,
                "scale": findings.headline.scale,
                "effects": effects,
            },
        },
    }
