"""The circumstances of a run: time, machine, versions, and exit status."""

from __future__ import annotations

import platform
import sys
from datetime import UTC, datetime
from typing import Any

from branchwise.analysis.declared.claims import seal
from branchwise.orchestration.checkout import git_commit
from branchwise.orchestration.run_folder.reuse import circumstances
from branchwise.orchestration.space import Space
from branchwise.run_files.layout import FORMAT
from branchwise.trainables.runtime.run_folder import RunFolder


def write_manifest(run: RunFolder, space: Space, status: str, **facts: Any) -> None:
    """Update the manifest with `facts`."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    earlier = run.read_manifest() or _start(run, space, now)
    finish = None if status == "running" else now
    run.write_manifest(earlier | facts | {"status": status, "ended": finish})


def _start(run: RunFolder, space: Space, now: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": run.name,
        "started": now,
        "argv": sys.argv,
        "host": platform.node(),
        **circumstances(space),
        "git_commit": git_commit(),
        "claims_sha256": seal(space.design.sealed(space.method)),
        "components": list(space.design.component_names()),
        "blocks": space.design.max_blocks,
        "data_sha256": run.read_plan().get("data_sha256"),
    }
