"""Imports point down only, and nothing shadows Python's own `platform`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ALLOWED = {
    # folder: the project's packages it may import
    "platform": {"orchestration", "analysis", "trainables"},
    "platform/orchestration": {"orchestration", "analysis", "trainables"},
    "analysis": {"analysis"},
    "trainables": {"trainables"},
    "trainables/dash": {"trainables"},
}
OWN = {"orchestration", "analysis", "trainables"}


def imported(file: Path) -> set[str]:
    """The modules `file` names in imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found.add(str(node.module))
    return found


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_point_down(root: Path, folder: str) -> None:
    for file in (root / folder).glob("*.py"):
        own = {module.split(".")[0] for module in imported(file)} & OWN
        assert own <= ALLOWED[folder], f"{file} imports {own - ALLOWED[folder]}"


def test_orchestration_and_analysis_know_nothing_of_dash(root: Path) -> None:
    for folder in ("platform/orchestration", "analysis"):
        for file in (root / folder).glob("*.py"):
            assert not any(module.startswith("trainables.dash") for module in imported(file)), file


def test_one_file_of_the_trainables_knows_ray(root: Path) -> None:
    for file in (root / "trainables").rglob("*.py"):
        if file.name != "ray_worker.py":
            assert not any(module.split(".")[0] == "ray" for module in imported(file)), file


def test_platform_shadows_nothing(root: Path) -> None:
    assert not (root / "platform/__init__.py").exists()
    for file in (root / "platform").glob("*.py"):
        assert file.stem not in sys.stdlib_module_names, file
    command = "import platform; print(platform.python_implementation())"
    result = subprocess.run([sys.executable, "-c", command], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "CPython"


def test_planning_imports_neither_torch_nor_ray(root: Path) -> None:
    command = (
        "import sys; sys.path[:0] = ['platform', '.']; import run_sweep; "
        "code = run_sweep.main(['--space', 'search_spaces/ablation.yaml', '--dry-run']); "
        "heavy = {'torch', 'ray', 'pandas', 'matplotlib', 'diffusers', 'statsmodels'} & set(sys.modules); "
        "print(code, sorted(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", command], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "0 []"
