"""Adding to a finished run from Python: what `Study.extend` does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from branchwise.api.errors import InputError, input_errors
from branchwise.api.execution import check_source, execute
from branchwise.api.spaces import Function, component_trees, locate, plain
from branchwise.api.study import Study
from branchwise.orchestration.input.command_line import open_storage
from branchwise.orchestration.planning.extending import Extension, plan_extended


def extend_run(
    folder: Path,
    function: Function | None,
    *,
    blocks: int | None,
    confirm: bool,
    added: Mapping[str, Any],
    name: str | None,
    address: str | None,
    progress: bool,
    trust: bool,
) -> Study:
    """Run what `Study.extend` adds to the run in `folder`; `added` has its further arguments."""
    if isinstance(added["claims"], str):
        raise InputError(f"claims: must be a list of texts, such as [{added['claims']!r}]")
    if blocks is not None and (isinstance(blocks, bool) or not isinstance(blocks, int)):
        raise InputError(f"blocks: {blocks!r} is not allowed; it must be a whole number")
    run = folder.resolve()
    extension = Extension(
        name=run.name,
        blocks=blocks,
        components=plain(component_trees(added["components"] or {})),
        baselines=[added["baselines"]] if isinstance(added["baselines"], str) else list(added["baselines"]),
        cells=_cells(added["cells"]),
        claims=list(added["claims"]),
        confirm=confirm,
    )
    with input_errors():
        source = locate(function)[2] if function is not None else ""
        with open_storage(str(run.parent)) as storage_handle:
            prepared = plan_extended(storage_handle, extension, name, trust)
            check_source(prepared, source, run.name)
            return execute(prepared, address, progress)


def _cells(cells: Any) -> list[dict[str, str]]:
    """The level of each component in each added cell; `True` and `False` are on and off."""
    listed = [cells] if isinstance(cells, Mapping) else list(cells)
    names = {True: "on", False: "off"}
    for cell in listed:
        if not isinstance(cell, Mapping) or not cell or not all(isinstance(v, str | bool) for v in cell.values()):
            raise InputError(f"add_cell: {cell!r} is not allowed; it must be a dict of component and level")
    return [
        {str(key): names[value] if isinstance(value, bool) else value for key, value in cell.items()} for cell in listed
    ]
