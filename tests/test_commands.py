"""The table of commands: the docs list the parsers' options, and the forms of a command are equal."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from branchwise.cli import COMMANDS, main, parser_of
from branchwise.orchestration.input import sweep_commands


def row(name: str) -> str:
    """The row of a command in docs/commands.md."""
    command = COMMANDS[name]
    flags = [
        action.option_strings[-1]
        for action in parser_of(name)._actions
        if action.option_strings and not isinstance(action, argparse._HelpAction)
    ]
    call = f"{name} {command.argument}".rstrip().replace("|", "\\|")
    return f"| `{call}` | {command.help} | {' '.join(f'`{flag}`' for flag in flags)} |"


def test_docs_list_existing_commands_and_options(root: Path) -> None:
    page = (root / "docs/commands.md").read_text().partition("## All commands\n")[2].partition("\nA run is named")[0]
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [row(name) for name in COMMANDS]


@pytest.mark.parametrize("name", [name for name, command in sweep_commands.COMMANDS.items() if command.script])
def test_script_and_subcommand_read_same_options(name: str) -> None:
    command = sweep_commands.COMMANDS[name]
    more = ["--storage", "there"]
    subject = ["x"] if command.argument else []
    typed = vars(sweep_commands.read_options(name, [*subject, *more]))
    script = vars(sweep_commands.read_options(None, [command.script, *subject, *more]))
    typed["program"] = script["program"]
    typed["subject"] = typed["subject"] or ""
    assert {key: script[key] for key in typed} == typed


def test_help_needs_neither_numpy_nor_ray() -> None:
    command = (
        "import sys; from branchwise import cli; cli.main(['--help'])\n"
        "try: cli.main(['run', '--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'numpy', 'ray', 'torch', 'pydantic', 'rich'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "excerpt"),
    [
        (["statsu", "x"], "branchwise: statsu: unknown command; did you mean status?"),
        (["--resume", "x"], "branchwise: --resume: unknown command; did you mean resume?"),
        (["resume"], "branchwise resume: the following arguments are required: NAME"),
        (["resume", "--name"], "branchwise resume: the following arguments are required: NAME"),
        (["resume", "x", "--set", "a=1"], "branchwise resume: unrecognized arguments: --set"),
        (["run", "x.yaml", "--for", "8xH100"], "branchwise run: --for: goes with --dry-run"),
        (["completion", "fish"], "branchwise completion: name one shell: bash, zsh, tcsh"),
        (["try"], "branchwise try: the following arguments are required: SPACE"),
        (["doctor", "now"], "branchwise doctor: unrecognized arguments: now"),
    ],
)
def test_bad_calls_print_single_message(
    arguments: list[str],
    excerpt: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(excerpt)
    assert len(output.err.splitlines()) == 1
    assert not any(tmp_path.iterdir())


def test_verify_accepts_name_and_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = root / "tests/data/runs"
    by_path = main(["verify", str(runs / "ablation")]), capsys.readouterr().out
    by_name = main(["verify", "ablation", "--storage", str(runs)]), capsys.readouterr().out
    assert by_path == by_name
    assert main(["verify", "nothing"]) == 2
    assert "nothing is not a run folder, nor a run in results" in capsys.readouterr().err
