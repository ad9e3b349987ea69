"""Runs that grow: a new plan and seal next to the old ones.

The new plan reuses the finished arms and runs the new ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from branchwise.analysis.declared.claim_grammar import parse_claim
from branchwise.orchestration.designs.ablation import Ablation
from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.yaml_file import read_tree, to_yaml
from branchwise.orchestration.planning.fresh_seeds import confirmations_of, first_fresh_seed
from branchwise.orchestration.planning.plan import Plan, plan_new
from branchwise.orchestration.run_folder.plan_file import LIST_HINT, read_plan, started_run
from branchwise.orchestration.run_folder.tables import verdicts_of
from branchwise.orchestration.space import Space, parse_space
from branchwise.trainables.runtime.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Extension:
    """Additions to the run called `name`.

    Attributes:
        blocks: Blocks in all, more than it has; None to keep its number.
        components: As in `design.components`.
        baselines: Names of baselines.
        cells: The level of each component; those that are not named are at their full level.
        claims: On what is new.
        confirm: Run only further seeds, as a separate run with the same claims sealed anew.
    """

    name: str
    blocks: int | None = None
    components: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    baselines: Sequence[str] = ()
    cells: Sequence[Mapping[str, str]] = ()
    claims: Sequence[str] = ()
    confirm: bool = False

    @property
    def option(self) -> str:
        """The name of the run in messages."""
        return f"run {self.name}"

    @property
    def adds_arms(self) -> bool:
        """Whether it adds rows to the table, not only seeds."""
        return bool(self.components or self.baselines or self.cells)


def parse_added(option: str, name: str, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Read the YAML of `--add-component` or `--add-cell`. Raises UserError."""
    form = "NAME: {off: {KEY: VALUE}}" if option == "--add-component" else "{COMPONENT: LEVEL, ...}"
    trees = []
    for text in texts:
        try:
            tree = read_tree(option, text.encode())
        except UserError:
            tree = {}
        values = list(tree.values())
        is_component = len(values) == 1 and isinstance(values[0], dict)
        levels = bool(values) and all(isinstance(value, str) for value in values)
        if not (is_component if option == "--add-component" else levels):
            raise UserError(f"run {name}: {option} {text!r}: must be {form}")
        trees.append(tree)
    return trees


def plan_extended(
    storage: Storage, extension: Extension, name: str | None, trust: bool = False, dry_run: bool = False
) -> Plan:
    """Plan the run that adds to another. Writes no files.

    Raises:
        UserError: The run does not exist, it is not finished, or what is added does not fit it.
    """
    option = extension.option
    run = started_run(storage, extension.name, "run", LIST_HINT)
    manifest = run.read_manifest()
    if "source" in manifest:
        raise UserError(f"{option}: another program made its arms; only a run of this program can be extended")
    old = read_plan("run", run, trust, dry_run)[0]
    if manifest.get("status") != "finished":
        raise UserError(f"{option}: not finished; finish it first: branchwise resume {extension.name}")
    if old.design.searches():
        raise UserError(f"{option}: a {old.design.kind} run cannot grow; start another one with `branchwise run`")
    if old.design.across:
        raise UserError(
            f"{option}: a run on several data sets cannot grow; run its space again with design.first_seed for fresh "
            "seeds (and reuse for what it has)"
        )
    if old.design.kind == "screening" and (extension.components or extension.cells):
        raise UserError(f"{option}: a fraction is of its own components; screen all of them in a new run")
    tree = read_tree(run.space_path(), old.resolved().encode())
    ran = int(manifest.get("stopped_after") or old.design.max_blocks)
    before = run.read_plan().get("extends") or {}
    if extension.confirm:
        first = _confirm(tree, extension, old, ran, storage)
        added: dict[str, Any] = {"confirmation": True, "earlier": confirmations_of(storage, extension.name)}
        added |= {"blocks": extension.blocks, "first_seed": first}
    else:
        added = _add(tree, extension, old, ran)
        grown = bool(before) and not before.get("confirmation") and ran > before["blocks"]
        added["blocks"] = before["blocks"] if grown else ran  # seeds stay exploratory in all extensions
        added["decided"] = verdicts_of(run)
    space = parse_space(f"{option}: {run.space_path()}", to_yaml(tree).encode(), folder=old.folder, imports=old.imports)
    if not extension.confirm and extension.adds_arms:
        _check_claims(extension, old, space, added)
    return plan_new(space, storage, name, extends={"run": extension.name, **added})


def _confirm(tree: dict[str, Any], extension: Extension, old: Space, ran: int, storage: Storage) -> int:
    """Change the space's tree to one of only fresh seeds; return the first of them."""
    if extension.blocks is None or extension.adds_arms:
        raise UserError(
            f"{extension.option}: --confirm runs fresh seeds alone; it goes with --blocks, and nothing else is added"
        )
    _check_more(extension, ran)
    design, blocks = tree["design"], extension.blocks - ran
    first = first_fresh_seed(storage, old, int(design.get("first_seed", 0)) + ran, blocks)
    design |= {"first_seed": first, "blocks": blocks}
    design["claims"] = [*design.get("claims", ()), *extension.claims]
    return first


def _check_more(extension: Extension, ran: int) -> None:
    if extension.blocks is not None and extension.blocks <= ran:
        raise UserError(f"{extension.option}: --blocks {extension.blocks}: it has {ran} blocks; more are needed")


def _add(tree: dict[str, Any], extension: Extension, old: Space, ran: int) -> dict[str, Any]:
    """Change the space's tree; return what was added, for the plan."""
    design, option = tree["design"], extension.option
    _check_more(extension, ran)
    if extension.blocks is None and not extension.adds_arms:
        raise UserError(f"{option}: nothing to add; give --blocks, --add-component, --add-baseline or --add-cell")
    if taken := [name for name in extension.components if name in design["components"]]:
        raise UserError(f"{option}: --add-component: {taken[0]} is a component of it already")
    if taken := [name for name in extension.baselines if name in design.get("baselines", ())]:
        raise UserError(f"{option}: --add-baseline {taken[0]}: is a baseline of it already")
    if extension.components and extension.cells:
        raise UserError(f"{option}: --add-cell: not allowed with --add-component; extend twice")
    full = {factor.name: factor.full for factor in old.design.factors()}
    for cell in extension.cells:
        if unknown := [name for name in cell if name not in full]:
            raise UserError(f"{option}: --add-cell: {unknown[0]} is no component of it; it has {', '.join(full)}")
    further = [dict(item) for item in design.get("further_cells", ())]
    design["further_cells"] = [*further, *({**full, **cell} for cell in extension.cells)]
    if further and extension.components:  # the cells that ran have the new component at its full level
        _set_full_level(design["further_cells"], extension.components)
    design["blocks"] = extension.blocks or ran
    design["components"] |= {name: dict(component) for name, component in extension.components.items()}
    design["baselines"] = [*design.get("baselines", ()), *extension.baselines]
    if extension.adds_arms:  # its claims were tested; new ones form a separate family
        design["claims"] = list(extension.claims)
    elif extension.claims:
        raise UserError(f"{option}: --claim: a claim on seeds that have been looked at is no claim; use --confirm")
    tree["reuse"] = list(dict.fromkeys([extension.name, *old.reuse]))
    return {"components": list(extension.components), "baselines": list(extension.baselines), "cells": []}


def _set_full_level(cells: Sequence[dict[str, str]], components: Mapping[str, Mapping[str, Any]]) -> None:
    for name, component in components.items():
        full = component.get("full") or list(component.get("levels") or {"on": {}})[-1]
        for cell in cells:
            cell[name] = str(full)


def _check_claims(extension: Extension, old: Space, space: Space, added: dict[str, Any]) -> None:
    """Refuse a claim that is not on new arms: the others were inspected.

    Notes the names of new cells in `added`.
    """
    assert isinstance(space.design, Ablation)
    ran = {old.method.patched(cell.patch).model_dump_json() for cell in old.design.cells(old.method)}
    new = {
        cell.cell
        for cell in space.design.cells(space.method)
        if space.method.patched(cell.patch).model_dump_json() not in ran
    }
    if extension.cells:
        added["cells"] = sorted(new.difference(extension.baselines))
    names = [*extension.components, *extension.baselines, *added["cells"]]
    from branchwise.analysis.declared.contrasts import claim_weights  # it imports NumPy

    vocabulary, grid = space.design.vocabulary(space.method), space.design.grid()
    for text in extension.claims:
        terms = set(re.findall(r"[\w+]+", text))
        named = any(name in terms or name in set(re.findall(r"\w+", text)) for name in names)
        if not named or not new.intersection(claim_weights(parse_claim(text, vocabulary), grid)):
            raise UserError(
                f"{extension.option}: --claim {text!r}: the arms that ran were looked at, so a claim must be on what "
                f"is added ({', '.join(names)})"
            )
