"""The files needed to add a thing, counted by an addition to a copy; CONTRIBUTING states how."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from editing import Edit, after_line_with, at_end, entry, import_line, member, next_to


@dataclass(frozen=True, kw_only=True)
class Addition:
    """`new` files with their text, `edits` of files, and a program that uses the thing."""

    new: dict[str, str]
    edits: list[tuple[str, Edit]]
    program: str
    max_files: int  # files that it may touch


DRY_RUN = "from branchwise.commands import run_sweep; assert run_sweep.main({arguments!r}) == 0"
PLANNED = "from branchwise.orchestration.space import load_space\nspace = load_space('space.yaml', {overrides!r})\n"
REPORTED = "from pathlib import Path\nfrom branchwise.analysis.report.build import build_report\n"

DESIGNS = "platform/orchestration/designs/__init__.py"
PLOTS = "analysis/report/plots/attribution.py"
SURFACE = "trainables/surface.py"
TABLES = "analysis/report/tables.py"

SPACE = """\
name: surface
trainable: surface
design:
  components: {anchor: {off: {anchor_weight: 0}}, curriculum: {off: {curriculum: uniform}}}
"""

ADDITIONS = {
    "a kind of design": Addition(
        new={
            "platform/orchestration/designs/pairs.py": """\
from collections.abc import Iterator, Mapping
from typing import Literal

from branchwise.orchestration.designs.ablation import Ablation, all_combinations


class Pairs(Ablation):
    kind: Literal["pairs"]

    def combinations(self) -> Iterator[Mapping[str, str]]:
        return (levels for levels in all_combinations(self.factors()) if list(levels.values()).count("on") <= 2)
"""
        },
        edits=[
            (DESIGNS, import_line("from branchwise.orchestration.designs.pairs import Pairs")),
            (DESIGNS, entry("KINDS", '"pairs": Pairs')),
        ],
        program=DRY_RUN.format(
            arguments=["--space", "space.yaml", "--storage", "runs", "--dry-run", "--set", "design.kind=pairs"]
        ),
        max_files=3,
    ),
    "an objective": Addition(
        new={},
        edits=[
            (
                "trainables/dash/settings/objectives.py",
                entry("OBJECTIVES", '"unconditional": Objective(passes=_always("uncond"))'),
            ),
            (
                "trainables/dash/training/objectives.py",
                entry(
                    "LOSSES",
                    '"unconditional": lambda method, student, teacher, noise, weights: '
                    'Losses(weighted_error(student["uncond"], teacher["uncond"], weights))',
                ),
            ),
        ],
        program="from branchwise.trainables import dash\n"
        "from branchwise.trainables.dash.settings.spec import Method\n"
        "from branchwise.trainables.dash.training.objectives import LOSSES\n"
        "Method(objective='unconditional'); LOSSES['unconditional']; dash.BASELINES['unconditional']",
        max_files=2,
    ),
    "a data set of torchvision's": Addition(
        new={},
        edits=[
            (
                "trainables/dash/settings/data.py",
                entry(
                    "TORCHVISION", '"kmnist": Known(torchvision="KMNIST", folder="KMNIST/raw", channels=1, classes=10)'
                ),
            )
        ],
        program="from branchwise.trainables.dash.settings.data import TorchvisionData\n"
        "assert TorchvisionData(name='kmnist').image_shape == (1, 32, 32)",
        max_files=2,
    ),
    "a sampler": Addition(
        new={
            "trainables/dash/diffusion/samplers/noise.py": "def sample(denoise, noise, alphas_cumprod, steps):\n"
            "    return noise.clamp(-1, 1)\n"
        },
        edits=[],
        program="import torch\nfrom branchwise.trainables.dash.diffusion.sampling import sampler\n"
        "from branchwise.trainables.dash.settings.evaluate import Evaluate\n"
        "assert sampler(Evaluate(sampler='noise').sampler)(None, torch.zeros(1), None, 1) == 0",
        max_files=1,
    ),
    "a metric that reaches schema, search, gauges and tables": Addition(
        new={},
        edits=[
            (
                SURFACE,
                entry("COLUMNS", 'Column(name="joules", about="energy", better="lower", searchable=True, shown=True)'),
            ),
            (SURFACE, next_to("cost", '"joules": 3.0')),
        ],
        program=PLANNED.format(
            overrides=[
                "design={kind: search, arms: 2, objectives: [joules], knobs: {anchor_weight: {uniform: [0.1, 1.0]}}}"
            ]
        )
        + "from branchwise.orchestration.monitoring.gauges import gauge_texts\n"
        "assert 'branchwise_joules' in gauge_texts(space.module.COLUMNS)\n"
        "from branchwise.trainables.contract import declared\n"
        "assert any(column['name'] == 'joules' and column['shown'] for column in declared(space.module)['columns'])\n",
        max_files=2,
    ),
    "a statistic": Addition(
        new={},
        edits=[
            (
                "analysis/statistics/attribution.py",
                member(
                    "ComponentRow",
                    "    @property\n    def spread(self) -> float:\n"
                    "        return self.shapley.se * (self.shapley.df + 1) ** 0.5\n",
                ),
            ),
            (TABLES, next_to("add_one_in", "number(row.spread)")),
            (TABLES, next_to("add-one-in", '"SD over blocks"')),
        ],
        program=REPORTED + "build_report([Path('tests/data/runs/ablation')], Path('out'))\n"
        "assert 'SD over blocks' in Path('out/ablation.md').read_text()",
        max_files=3,
    ),
    "a plot": Addition(
        new={},
        edits=[
            (PLOTS, next_to("interactions", "seeds(findings)")),
            (
                PLOTS,
                at_end(
                    "def seeds(findings: Findings) -> Plot | None:\n    figure, (axes,) = new_figure(4.0, 3.0)\n"
                    "    axes.plot(findings.run.results['block'], findings.run.results['value'], 'o')\n"
                    "    return render(figure, 'seeds', 'Seeds', 'Every value by seed.')\n"
                ),
            ),
            (
                "analysis/report/templates/report.html.j2",
                after_line_with("figure(run, 'samples')", "{{ figure(run, 'seeds') }}"),
            ),
        ],
        program=REPORTED + "build_report([Path('tests/data/runs/ablation')], Path('out'))\n"
        "assert Path('out/seeds.svg').is_file() and 'Every value by seed.' in Path('out/index.html').read_text()",
        max_files=2,
    ),
    "a tracker": Addition(
        new={
            "platform/orchestration/tracking/trackers/json.py": "PACKAGE = 'json'\n\n\n"
            "def log(run, arm, record):\n    print(run.name, arm)\n"
        },
        edits=[],
        program=PLANNED.format(overrides=["tracking=[json]"])
        + "from branchwise.orchestration.tracking.registry import log_of, refuse_missing\n"
        "refuse_missing(space.tracking); log_of('json')(space, 'full-b0', {})",
        max_files=1,
    ),
}


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A copy of the code, with links as they are, compiled as far as the code is."""
    for folder in ("branchwise", "analysis", "trainables", "platform", "tests/data"):
        shutil.copytree(
            root / folder, tmp_path / folder, symlinks=True, ignore=shutil.ignore_patterns("*.pyc.*", "*.ipynb")
        )
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


@pytest.mark.parametrize("addition", ADDITIONS.values(), ids=ADDITIONS)
def test_what_is_added_works_and_touches_few_files(copy: Path, addition: Addition) -> None:
    touched = {*addition.new, *(file for file, _ in addition.edits)}
    assert len(touched) <= addition.max_files
    for file, text in addition.new.items():
        (copy / file).write_text(text)
    for file, edit in addition.edits:
        (copy / file).write_text(edit((copy / file).read_text()))
    ran = subprocess.run([sys.executable, "-c", addition.program], cwd=copy, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
