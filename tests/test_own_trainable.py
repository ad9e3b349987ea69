"""docs/own-trainable.md works unchanged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from patience import patience


@pytest.mark.slow
def test_trainable_of_docs_runs(root: Path, tmp_path: Path) -> None:
    page = (root / "docs/own-trainable.md").read_text()
    module, space = re.findall(r"```(?:python|yaml)\n(.*?)```", page, flags=re.DOTALL)
    assert len(module.splitlines()) < 40
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    # A relative path starts at the working directory.
    module = module.replace("    for arm in arms:\n", "    assert open('space.yaml').read()\n    for arm in arms:\n")
    (package / "my_module.py").write_text(module)
    (tmp_path / "space.yaml").write_text(space)
    command = [sys.executable, str(root / "platform/run_sweep.py")]
    command += ["--space", "space.yaml", "--storage", str(tmp_path / "runs")]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=patience(200)
    )
    assert result.returncode == 0, result.stdout + result.stderr
    arms = pd.read_parquet(tmp_path / "runs/least-squares/arms.parquet")
    assert len(arms) == 20
    assert set(arms["status"]) == {"done"}
