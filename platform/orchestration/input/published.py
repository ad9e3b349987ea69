"""Numbers that others published, which a report shows next to the run's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from branchwise.orchestration.errors import UserError
from branchwise.orchestration.input.yaml_file import read_file, read_tree
from branchwise.trainables.runtime.settings import Strict


class Published(Strict):
    """Values by row of the table of cells, and where they come from."""

    source: str
    values: dict[str, float]


def published_numbers(file: str, requested: Any) -> Any:
    """The numbers that the key `published` of the space in `file` stands for.

    Of a name, the content of `published/<name>.yaml` next to the space.
    """
    if not isinstance(requested, str):
        return requested
    folder = Path(file).parent / "published"
    available = sorted(path.stem for path in folder.glob("*.yaml"))
    if requested not in available:
        raise UserError(
            f"{file}: published: {requested!r} is not allowed: {folder} has {', '.join(available) or 'nothing'}"
        )
    candidate = folder / f"{requested}.yaml"
    return read_tree(str(candidate), read_file(candidate))
