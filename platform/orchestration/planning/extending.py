"""Runs that grow: a new plan and seal beside the old ones, which takes the finished arms and runs what is new."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.yaml_file import read_tree, to_yaml
from branchwise.orchestration.planning.plan import Plan, plan_new
from branchwise.orchestration.run_folder.plan_file import read_plan, run_named
from branchwise.orchestration.space import Space, parse_space
from branchwise.trainables.runtime.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What is added to the run called `name`.

    Attributes:
        blocks: Blocks in all, more than it has; None to keep its own.
        components: Texts of YAML, `NAME: {off: {KEY: VALUE}}`.
        baselines: Names of baselines.
        claims: On what is new.
        confirm: Run the further seeds alone, as a run of its own with the same claims sealed anew.
    """

    name: str
    blocks: int | None = None
    components: Sequence[str] = ()
    baselines: Sequence[str] = ()
    claims: Sequence[str] = ()
    confirm: bool = False


def plan_extended(
    storage: Storage, extension: Extension, name: str | None, trust: bool = False, dry_run: bool = False
) -> Plan:
    """Plan the run that adds to another one. Writes nothing.

    Raises:
        UserError: There is no such run, it is not finished, or what is added does not fit it.
    """
    option = f"run {extension.name}"
    run = run_named(storage, extension.name, "run")
    if not run.begun():
        raise UserError(f"{option}: no such run in {storage.root}; `branchwise list` names those there are")
    old = read_plan("run", run, trust, dry_run)[0]
    manifest = run.read_manifest()
    if manifest.get("status") != "finished":
        raise UserError(f"{option}: not finished; finish it first: branchwise resume {extension.name}")
    if old.design.searches():
        raise UserError(f"{option}: a {old.design.kind} run cannot grow; start another one with `branchwise run`")
    if extension.components and old.design.kind == "screening":
        raise UserError(f"{option}: a fraction is of its own components; screen all of them in a new run")
    tree = read_tree(run.space_path(), old.resolved().encode())
    ran = int(manifest.get("stopped_after") or old.design.max_blocks)
    added = _add(option, tree, extension, old, ran)
    space = parse_space(f"{option}: {run.space_path()}", to_yaml(tree).encode(), folder=old.folder, imports=old.imports)
    extends = None if extension.confirm else {"run": extension.name, "blocks": ran, **added}
    return plan_new(space, storage, name, extends=extends)


def _add(option: str, tree: dict[str, Any], extension: Extension, old: Space, ran: int) -> dict[str, Any]:
    """Change the space's tree; return what was added, for the plan."""
    design = tree["design"]
    if extension.blocks is not None and extension.blocks <= ran:
        raise UserError(f"{option}: --blocks {extension.blocks}: it has {ran} blocks; more are needed")
    if extension.confirm:
        if extension.blocks is None or extension.components or extension.baselines:
            raise UserError(
                f"{option}: --confirm runs fresh seeds alone; it goes with --blocks, and nothing else is added"
            )
        design |= {"first_seed": design.get("first_seed", 0) + ran, "blocks": extension.blocks - ran}
        design["claims"] = [*design.get("claims", ()), *extension.claims]
        return {}
    new = dict(_component(option, text) for text in extension.components)
    if not (extension.blocks or new or extension.baselines):
        raise UserError(f"{option}: nothing to add; give --blocks, --add-component or --add-baseline")
    if taken := [name for name in new if name in design["components"]]:
        raise UserError(f"{option}: --add-component: {taken[0]} is a component of it already")
    if taken := [name for name in extension.baselines if name in design.get("baselines", ())]:
        raise UserError(f"{option}: --add-baseline {taken[0]}: is a baseline of it already")
    design["blocks"] = extension.blocks or ran
    design["components"] |= new
    design["baselines"] = [*design.get("baselines", ()), *extension.baselines]
    added = [*new, *extension.baselines]
    for claim in extension.claims:
        if added and not set(added) & set(re.findall(r"\w+", claim)):
            raise UserError(
                f"{option}: --claim {claim!r}: the arms that ran were looked at, so a claim must be on what is added "
                f"({', '.join(added)})"
            )
    if new or extension.baselines:  # its own claims were judged; what is new has a family of its own
        design["claims"] = list(extension.claims)
    elif extension.claims:
        raise UserError(f"{option}: --claim: a claim on seeds that have been looked at is no claim; use --confirm")
    tree["reuse"] = list(dict.fromkeys([extension.name, *old.reuse]))
    return {"components": list(new), "baselines": list(extension.baselines)}


def _component(option: str, text: str) -> tuple[str, Mapping[str, Any]]:
    try:
        found = read_tree("--add-component", text.encode())
    except UserError:
        found = {}
    if len(found) != 1 or not isinstance(next(iter(found.values())), dict):
        raise UserError(f"{option}: --add-component {text!r}: must be NAME: {{off: {{KEY: VALUE}}}}")
    ((name, component),) = found.items()
    return str(name), component
