"""The best settings of a search as a separate space, ready to run: the run's `best.yaml`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from branchwise.analysis.declared.fractions import MIN_BLOCKS
from branchwise.orchestration.designs.base import BestConfigs
from branchwise.orchestration.designs.tuning import Tuning
from branchwise.orchestration.input.yaml_file import to_yaml
from branchwise.orchestration.space import Space, parse_space
from branchwise.trainables.runtime.settings import bare_key, patched, setting

SESSION = "session:"  # functions of a Python session, which no file can name
MAX_FACTORIAL = 4  # components; with more, leave-one-out
MAX_NAME = 64


def best_space(space: Space, best_configs: BestConfigs) -> str | None:
    """Return a space that ablates the best settings.

    The best settings are the full method, each that the search has changed is a component, and the seeds are fresh.

    Returns:
        The file's text; None if the best settings are the space's, no search on its own settings has a result, or
        the function is from a Python session.

    Raises:
        UserError: The settings make no space.
    """
    design = space.design
    if not isinstance(design, Tuning) or space.trainable.startswith(SESSION):
        return None
    searches = [search for search in design.searches() if not search.patch and best_configs.get(search.cell)]
    if not searches:
        return None
    patch: Mapping[str, Any] = best_configs[searches[0].cell][0]
    changed = {key: setting(space.spec, key) for key in patch if setting(space.spec, key) != patch[key]}
    if not changed:
        return None
    tree: dict[str, Any] = yaml.safe_load(space.resolved())
    tree |= patched(space.spec, patch).model_dump(mode="json")
    tree["name"] = f"{space.name[: MAX_NAME - 5].rstrip('-._')}-best"
    tree["design"] = {
        "kind": "factorial" if len(changed) <= MAX_FACTORIAL else "leave_one_out",
        "components": _components(changed),
        "blocks": max(MIN_BLOCKS, design.max_blocks),
        "first_seed": max([design.searched_seeds[-1], *(arm.seed for arm in design.arms(space.method, best_configs))])
        + 1,
    }
    text = f"{HEADER.format(name=space.name)}{to_yaml(tree)}"
    parse_space("best.yaml", text.encode(), folder=space.folder, imports=space.imports)
    return text


HEADER = """\
# The best settings of the search {name}, with a component for each setting that it changed: what did each do?
# Its seeds were used by no arm of the search. See what would run: branchwise plan FILE
"""


def _components(changed: Mapping[str, Any]) -> dict[str, Any]:
    """A component for each changed setting, which is off at the value that it had before."""
    components: dict[str, Any] = {}
    for key, value in changed.items():
        name = re.sub(r"\W", "_", bare_key(key))
        components[name if name not in components else re.sub(r"\W", "_", key)] = {"off": {key: value}}
    return components
