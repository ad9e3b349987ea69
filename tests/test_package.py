"""The installed package: one command, one import name; the analysis needs neither Ray nor torch."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from branchwise.cli import COMMANDS, main

HEAVY = re.compile(
    r"(ray|torch|torchvision|torch_fidelity|torchgen|functorch|nvidia|triton|diffusers|lightning)(\b|_|-|$)"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(__file__).resolve().parents[1]
    location = tmp_path_factory.mktemp("wheel")
    source = location / "source"
    source.mkdir()
    for name in ("branchwise", "analysis", "trainables", "platform"):
        ignored = shutil.ignore_patterns("__pycache__", "*.ipynb")
        shutil.copytree(root / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(location),
        str(source),
    ]
    subprocess.run(command, check=True)
    return next(location.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The bin folder of an environment with the wheel and the current libraries without HEAVY."""
    env = wheel.parent / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
    site = env / f"lib/python3.{sys.version_info.minor}/site-packages"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", env / "bin/python", "install", "--quiet", "--no-deps", wheel],
        check=True,
    )
    libraries = wheel.parent / "libraries"
    libraries.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not HEAVY.match(path.name) and path.name != "__pycache__":
            (libraries / path.name).symlink_to(path)
    (site / "libraries.pth").write_text(f"{libraries}\n")
    return env / "bin"


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(argument) for argument in command], cwd=cwd, capture_output=True, text=True, timeout=200)


@pytest.mark.long(60)
def test_only_branchwise_is_installed(wheel: Path) -> None:
    names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"branchwise"}
    files = set(zipfile.ZipFile(wheel).namelist())
    assert {"branchwise/py.typed", "branchwise/commands/run_sweep.py", "branchwise/cli.py"} <= files
    assert "branchwise/analysis/report/templates/report.html.j2" in files


@pytest.mark.long(60)
def test_it_analyses_without_ray_and_torch_from_another_folder(installed: Path, root: Path, tmp_path: Path) -> None:
    assert run(installed / "python", "-c", "import ray", cwd=tmp_path).returncode != 0
    ran = run(installed / "branchwise", "analyze", root / "tests/data/runs/ablation", "--out", "report", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "report/index.html").is_file()
    listed = run(installed / "branchwise", "list", "--storage", root / "tests/data/runs", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "ablation" in listed.stdout


@pytest.mark.long(60)
def test_from_script_to_plan_without_ray(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--lr', type=float, default=0.1)\n"
        "parser.add_argument('--ema', action='store_true')\nparser.add_argument('--seed', type=int)\n"
    )
    has_started = run(installed / "branchwise", "init", "train.py", cwd=tmp_path)
    assert has_started.returncode == 0, has_started.stderr
    rerun = run(installed / "branchwise", "init", "train.py", cwd=tmp_path)
    assert (rerun.returncode, rerun.stderr) == (2, "branchwise init: train.yaml exists already; choose another --out\n")
    planned = run(installed / "branchwise", "run", "train.yaml", "--dry-run", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "python train.py --seed={seed} --lr=0.1" in planned.stdout
    assert str(tmp_path / "results/train") in planned.stdout.replace("\n", "")
    ran = run(installed / "branchwise", "run", "train.yaml", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (2, "branchwise run: Ray is not installed; pip install 'branchwise[run]'\n")
    assert not (tmp_path / "results").exists()


def test_requirements_match_extras(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = {*project["dependencies"], *extras["analysis"], *extras["run"], *extras["dash"]} - {"branchwise[run]"}
    lines = (line.partition("#")[0].strip() for line in (root / "requirements.txt").read_text().splitlines())
    assert declared == {line for line in lines if line}


def test_commands_are_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    assert all(name in output for name in COMMANDS)
    for name in COMMANDS:
        with pytest.raises(SystemExit) as exit_info:
            main([name, "--help"])
        assert exit_info.value.code == 0, name
        assert capsys.readouterr().out.startswith(f"usage: branchwise {name} ")
    assert main(["runn"]) == 2
    assert capsys.readouterr().err == "branchwise: runn: unknown command; did you mean run?\n"
    assert main(["sweep"]) == 2
    assert "sweep: unknown command; there are init, try, plan, run," in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "--dry-run" in script
    assert "train-teacher" in script or "train_teacher" in script


def test_citation_workflow_and_hooks_can_be_read(root: Path) -> None:
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", project["version"])
    jobs = yaml.safe_load((root / ".github/workflows/check.yml").read_text())["jobs"]
    assert set(jobs) == {"tests", "install", "minimum"}
    for job in jobs.values():
        for step in job["steps"]:
            for path in re.findall(r"(?<![\w./-])(?:tests|examples|\.ci)/[\w/.-]+", step.get("run", "")):
                assert (root / path).exists(), path
    for hook in yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]:
        assert hook["entry"].split()[0].startswith(".venv/bin/")
