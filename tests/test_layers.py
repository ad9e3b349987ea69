"""Imports point down only, between rooms too; rooms stay small; no module shadows Python's `platform`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

# The rooms of each package, the lowest first. A file may import from its room and from lower rooms. A name that is a
# file means only that file.
ORDERS = {
    "trainables": [
        "columns",
        "contract",
        "runtime",
        "metrics",
        "reporting",
        "surface",
        "dash",
        "command",
        "function",
        "unimported",
        "callbacks",
        "testing",
    ],
    "trainables/command": ["arguments", "numbers", "settings", "process", "output", "trial"],
    "trainables/runtime": [
        "artifacts",
        "storage",
        "settings",
        "session",
        "loading",
        "processes",
        "run_folder",
        "shared_models",
        "stopping",
        "job",
        "kinds",
        "ray_worker",
    ],
    "trainables/dash": [
        "settings",
        "costs",
        "compute",
        "diffusion",
        "data",
        "nets",
        "evaluation",
        "training",
        "authors",
        "machine",
    ],
    "analysis": [
        "console",
        "declared",
        "records",
        "statistics",
        "importers",
        "report",
        "comparison",
        "compare",
        "across",
        "verify",
    ],
    # The stages of an analysis: the fit, contrasts of it, the family with its verdicts, diagnostics, the next run.
    "analysis/statistics": [
        "spread",
        "welch",
        "power",
        "model",
        "screening",
        "levels",
        "attribution",
        "estimation",
        "claims",
        "sequential",
        "baseline_comparison",
        "table",
        "diagnostics",
        "planning",
        "findings",
        "comparisons",
        "remeasured",
    ],
    "platform/orchestration": [
        "errors",
        "time_limit",
        "interrupts",
        "checkout",
        "input",
        "designs",
        "tracking",
        "limits",
        "space",
        "authoring",
        "run_folder",
        "tuning",
        "planning",
        "monitoring",
        "execution",
    ],
}
PACKAGES = {  # allowed imports between packages
    "branchwise/run_files": {"run_files"},
    "analysis": {"analysis", "run_files", "command_io"},
    "trainables": {"trainables", "run_files"},
    "platform/orchestration": {"orchestration", "analysis", "trainables", "run_files", "command_io", "documents"},
    "platform/commands": {"orchestration", "analysis", "trainables", "run_files", "command_io", "documents"},
    "platform": {"commands", "orchestration"},
}
MAX_MODULES = 12


def imported(file: Path) -> set[str]:
    """The modules that `file` names in imports, anywhere in it."""
    result = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            result |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            result |= {f"{node.module}.{alias.name}" for alias in node.names}
    return result


def dotted(folder: str) -> str:
    return f"branchwise.{folder.removeprefix('platform/').replace('/', '.')}"


@pytest.mark.parametrize("folder", PACKAGES)
def test_packages_import_only_those_below(root: Path, folder: str) -> None:
    files = (root / folder).glob("*.py") if folder == "platform" else (root / folder).rglob("*.py")
    for file in files:
        imported_rooms = {module.split(".")[1] for module in imported(file) if module.startswith("branchwise.")}
        assert imported_rooms <= PACKAGES[folder], f"{file} imports {imported_rooms - PACKAGES[folder]}"


@pytest.mark.parametrize("folder", ORDERS)
def test_imports_between_rooms_point_down(root: Path, folder: str) -> None:
    order, prefix = ORDERS[folder], f"{dotted(folder)}."
    for file in (root / folder).rglob("*.py"):
        room = file.relative_to(root / folder).with_suffix("").parts[0]
        if room in ("__init__", "__main__"):
            continue
        assert room in order, f"{file} lies in a room that ORDERS does not list"
        for module in imported(file):
            if module.startswith(prefix):
                other = module.removeprefix(prefix).split(".")[0]
                assert other in order, f"{file} imports {module}, which is the door of a higher room"
                assert order.index(other) <= order.index(room), f"{file} imports {module}, which lies higher"


def test_designs_take_only_declarations_of_analysis(root: Path) -> None:
    """Planning does not import the statistics."""
    for file in (root / "platform/orchestration/designs").rglob("*.py"):
        modules = [module for module in imported(file) if module.startswith("branchwise.analysis.")]
        assert all(module.startswith("branchwise.analysis.declared.") for module in modules), file


def test_only_top_of_statistics_sees_a_run(root: Path) -> None:
    """Each stage takes the arms and what was declared of them, so that it is usable on a table alone."""
    for file in (root / "analysis/statistics").rglob("*.py"):
        room = file.relative_to(root / "analysis/statistics").with_suffix("").parts[0]
        if room not in ("findings", "comparisons", "remeasured"):
            assert "branchwise.analysis.records.run.Run" not in imported(file), file


def test_tests_use_public_names(root: Path) -> None:
    """Neither imported, read of a module, nor replaced in it."""
    for file in (root / "tests").rglob("*.py"):
        tree = ast.parse(file.read_text())
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        actual = [node for node in imports if str(node.module).partition(".")[0] == "branchwise"]
        names = {alias.asname or alias.name for node in actual for alias in node.names}
        assert not [name for name in names if name.startswith("_")], file
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
                assert not node.attr.startswith("_"), f"{file}:{node.lineno}: {node.value.id}.{node.attr}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
                names_set = [arg.value for arg in node.args[:2] if isinstance(arg, ast.Constant)]
                assert not [item for item in names_set if str(item).rpartition(".")[2].startswith("_")], (
                    f"{file}:{node.lineno}: {names_set}"
                )


def test_no_two_files_import_each_other(root: Path) -> None:
    """No circle of imports at the top of files, nor for types; in functions only their direction is checked."""
    graph = {}
    for folder in ("analysis", "trainables", "platform/orchestration"):
        for file in (root / folder).rglob("*.py"):
            parts = file.relative_to(root / folder).with_suffix("").parts
            name = ".".join([dotted(folder), *parts]).removesuffix(".__init__")
            body = ast.parse(file.read_text()).body
            body += [node for block in body if isinstance(block, ast.If) for node in block.body]  # if TYPE_CHECKING
            top = [node for node in body if isinstance(node, ast.ImportFrom)]
            names = {f"{node.module}.{alias.name}" for node in top for alias in node.names}
            graph[name] = names | {str(node.module) for node in top}
    graph = {name: {other for other in match if other in graph and other != name} for name, match in graph.items()}
    doors = {name for name in graph if any(other.startswith(f"{name}.") for other in graph)}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join((*path, name))}"
        if name in done:
            return
        for other in graph[name] - doors:
            visit(other, (*path, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def test_no_folder_holds_more_than_dozen_modules(root: Path) -> None:
    for package in ("analysis", "trainables", "platform/orchestration"):
        for folder in [root / package, *(path for path in (root / package).rglob("*") if path.is_dir())]:
            modules = [file for file in folder.glob("*.py") if not file.name.startswith("__")]
            assert len(modules) <= MAX_MODULES, f"{folder} holds {len(modules)} modules"


def test_packages_have_docstrings(root: Path) -> None:
    for package in ("analysis", "trainables", "platform/orchestration", "branchwise"):
        for door in (root / package).rglob("__init__.py"):
            assert len(ast.get_docstring(ast.parse(door.read_text())) or "") > 40, f"{door} does not say"


def test_orchestration_and_analysis_do_not_mention_dash(root: Path) -> None:
    forbidden = ("trainables.dash", "rho", "relative_gap", "gap_mse", "mse_cond", "cos_delta", "curriculum", "guidance")
    for folder in ("platform/orchestration", "analysis"):
        for file in (root / folder).rglob("*.py"):
            tokens = set(ast.dump(ast.parse(file.read_text())).replace("'", " ").split())
            matches = [name for name in forbidden if name in tokens or any(f".{name}" in token for token in tokens)]
            assert not matches, f"{file} says {matches}"


def test_single_trainables_module_imports_ray(root: Path) -> None:
    for file in (root / "trainables").rglob("*.py"):
        if file.name != "ray_worker.py":
            assert not any(module.split(".")[0] == "ray" for module in imported(file)), file


def test_what_plan_needs_of_dash_knows_no_torch(root: Path) -> None:
    for file in [*(root / "trainables/dash/settings").glob("*.py"), root / "trainables/dash/__init__.py"]:
        assert not any(module.split(".")[0] in ("torch", "diffusers") for module in imported(file)), file


def test_platform_shadows_no_module(root: Path) -> None:
    assert not (root / "platform/__init__.py").exists()
    for file in (root / "platform").glob("*.py"):
        assert file.stem not in sys.stdlib_module_names, file
    command = "import platform; print(platform.python_implementation())"
    result = subprocess.run([sys.executable, "-c", command], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "CPython"


def test_planning_imports_neither_torch_nor_ray(root: Path) -> None:
    command = (
        "import sys; from branchwise.commands import run_sweep; "
        "code = run_sweep.main(['--space', 'search_spaces/ablation.yaml', '--dry-run']); "
        "heavy = {'torch', 'ray', 'pandas', 'matplotlib', 'diffusers', 'statsmodels'} & set(sys.modules); "
        "print(code, sorted(heavy))"
    )
    result = subprocess.run([sys.executable, "-c", command], cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "0 []"
