"""The trainable `command`: its arms run in turn, each as a run of the program."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from branchwise.run_files.columns import Column, PlotSpec
from branchwise.trainables.command.arguments import BUILT_IN, filled, filled_arguments, placeholders
from branchwise.trainables.command.numbers import Printed, SlowPatternError
from branchwise.trainables.command.output import Output, last_lines, missing_file
from branchwise.trainables.command.process import run_program
from branchwise.trainables.command.settings import CommandSettings, flat, spec_model
from branchwise.trainables.contract import Arm, Context
from branchwise.trainables.metrics import by_column, columns, curves
from branchwise.trainables.reporting import Reporter, Stopped
from branchwise.trainables.runtime.artifacts import keep_artifacts

SCRIPTS = (".py", ".sh", ".R", ".jl", ".pl", ".rb", ".js", ".lua", ".m")  # what interpreters run
MAX_LOG = 10 << 20  # bytes that are stored of an arm's output: the last
# What fails in the same way when it is retried: a missing module or file, and wrong arguments.
_PERMANENT_FAILURE = re.compile(
    "ModuleNotFoundError|ImportError|FileNotFoundError|SyntaxError|IndentationError|NameError|unrecognized arguments|"
    "arguments are required|invalid choice|error: argument|No such option|can't open file|command not found"
)


class ProgramFailedError(RuntimeError):
    """The program failed; the message has the exit status and its last output."""


def from_settings(settings: Mapping[str, Any], folder: Path | None) -> CommandTrainable:
    """Return the trainable of a space in `folder` with these keys.

    Raises ValueError for settings of no use.
    """
    return CommandTrainable(settings, folder or Path.cwd())


class CommandTrainable:
    WORKERS = False

    def __init__(self, settings: Mapping[str, Any], folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self.Spec = spec_model(settings.get("settings"))

    @property
    def COLUMNS(self) -> Sequence[Column]:  # noqa: N802
        command = CommandSettings.model_validate(self._settings["command"])
        return columns(command.metric.key, command, command.outcomes)

    @property
    def LINES(self) -> Sequence[PlotSpec]:  # noqa: N802
        command = CommandSettings.model_validate(self._settings["command"])
        return curves(command.progress.metric or command.metric.key)

    def describe(self, spec: Any) -> Sequence[tuple[str, str]]:
        command: CommandSettings = spec.command
        values = {**flat(spec.settings), **{name: f"{{{name}}}" for name in BUILT_IN}}
        argv = filled_arguments(command.run, values)
        rows = [
            ("command", " ".join(argv)),
            ("program", self._program(argv, self._cwd(command, self._folder), os.environ) or "not found"),
            ("metric", command.described(command.metric.key)),
        ]
        if command.config is None and not any("seed" in placeholders(text) for _, text in command.texts()):
            rows.append(("seed", "not passed: command has no {seed}, so blocks differ only if the program is random"))
        return rows

    def cohort_key(self, spec: Any) -> None:
        """None: arms do not benefit from running together."""

    def check_inputs(self, spec: Any) -> None:
        """Check that this machine has the program and the folder to run it in.

        Raises FileNotFoundError.
        """
        command: CommandSettings = spec.command
        values = {**flat(spec.settings), "seed": 0, "folder": "", "checkpoints": "", "config": ""}
        cwd = self._cwd(command, self._folder)
        if not cwd.is_dir():
            raise FileNotFoundError(f"command.cwd: there is no folder {cwd}")
        self._argv(command, values, cwd, os.environ)
        self._check_script(command, cwd)

    def estimate_cohort(self, specs: Sequence[Any], threads: int) -> float:
        return float(sum(spec.command.expected_seconds or 0.0 for spec in specs))

    def run_cohort(self, arms: Sequence[Arm], context: Context) -> None:
        for arm in arms:
            self._run(arm, context)

    def _run(self, arm: Arm, context: Context) -> None:
        command: CommandSettings = arm.spec.command
        folder, workspace = context.scratch / arm.name, context.workspace(arm)
        folder.mkdir()
        (workspace / "checkpoints").mkdir(exist_ok=True)
        values = {
            **flat(arm.spec.settings),
            "seed": arm.seed,
            "folder": str(folder),
            "checkpoints": str(workspace / "checkpoints"),
        }
        if command.config is not None:
            values["config"] = str(_write_config(command.config, folder, arm))
        reporter = Reporter(arm, context, command.metric.key, command, rung_metric=command.progress.metric)
        output = Output(command, values)
        output.start(folder)
        log = workspace / "output.txt"
        stored = context.scratch / f"{arm.name}.kept"
        notes: list[str] = []
        try:
            self._run_program(command, values, folder, log, output, reporter)
            checked = self._values(command, output.metrics(folder, self._cwd(command, folder)))
            notes += keep_artifacts(folder, stored)
        except Stopped:
            finish = reporter.finish_stopped
        except (TypeError, ValueError) as error:  # of the metrics
            finish = partial(reporter.fail, f"{error}{_last_output(log)}")
        except ProgramFailedError as error:
            if not _PERMANENT_FAILURE.search(str(error)):
                raise
            finish = partial(reporter.fail, str(error))
        else:
            finish = partial(reporter.finish, checked, stored if any(stored.iterdir()) else None)
        finally:
            context.log(arm, "".join([_tail(log), *(f"--- {note}\n" for note in [*output.notes, *notes])]))
        finish()  # last: it deletes the workspace, which has the output

    def _values(self, command: CommandSettings, result: Mapping[str, Printed]) -> dict[str, float]:
        """Return the values by column. Raises TypeError and ValueError."""
        declared = by_column(command.metric.key, command, command.outcomes)
        return {
            column: declaration.check(metric, result[column].value, percent=result[column].percent)
            for column, (metric, declaration) in declared.items()
        }

    def _run_program(
        self,
        command: CommandSettings,
        values: Mapping[str, Any],
        folder: Path,
        log: Path,
        output: Output,
        reporter: Reporter,
    ) -> None:
        """Run the program. Raises ProgramFailedError when it does not end well."""
        last = _last_step(command.progress.steps, values)

        def read(line: str, error: bool) -> None:
            if report := output.line(line, error=error):
                step, numbers = report
                reporter(step, **{"steps": last, **numbers})

        cwd = self._cwd(command, folder)
        env = _environment(command, values)
        argv = self._argv(command, values, cwd, env)
        with BoundedLog(log) as stream:
            stream.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {argv}\n".encode())
            try:
                code = run_program(
                    argv,
                    cwd=cwd,
                    env=env,
                    log=stream,
                    on_line=lambda line: read(line, error=False),
                    on_error_line=lambda line: read(line, error=True),
                    time_limit=command.time_limit,
                )
            except TimeoutError as error:
                raise ProgramFailedError(
                    f"time limit of {command.time_limit:g} s reached{_last_output(log)}"
                ) from error
            except SlowPatternError as error:
                raise ValueError(f"{command.metric.key} is missing: {error}") from error
        if code:
            exit_text = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
            raise ProgramFailedError(f"{exit_text}{_last_output(log)}{self._relative_path_hint(command, log)}")

    def _relative_path_hint(self, command: CommandSettings, log: Path) -> str:
        """Return a hint if the program searched its empty folder for a file next to the space."""
        path = missing_file(_tail(log), self._folder) if command.cwd is None else ""
        if not path:
            return ""
        return (
            f"; {path} lies in {self._folder}, but the program runs in a folder of its own: write command.cwd: . and "
            "have it write its files into {folder}"
        )

    def _cwd(self, command: CommandSettings, arm_folder: Path) -> Path:
        return arm_folder if command.cwd is None else (self._folder / command.cwd).resolve()

    def _argv(
        self, command: CommandSettings, values: Mapping[str, Any], cwd: Path, env: Mapping[str, str]
    ) -> list[str]:
        """Return the argv, with full paths of the program and of files next to the space.

        Raises FileNotFoundError.
        """
        argv = filled_arguments(command.run, values)
        if command.cwd is None:
            argv = [_with_full_path(argument, self._folder) for argument in argv]
        result = self._program(argv, cwd, env)
        if result is None:
            program = argv[0] if argv else ""
            raise FileNotFoundError(
                f"command.run: no program {program!r} in {self._folder}, nor on the PATH of {os.uname().nodename}"
            )
        return [result, *argv[1:]]

    def _program(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> str | None:
        """The full path of the program, or None."""
        program = argv[0] if argv else ""
        match = shutil.which(str(cwd / program) if os.sep in program else program, path=env.get("PATH"))
        return match or shutil.which(program, path=_with_environment_programs(env.get("PATH")))

    def _check_script(self, command: CommandSettings, cwd: Path) -> None:
        """Refuse a missing script that the program is to run; raise FileNotFoundError."""
        script = command.run[1] if len(command.run) > 1 else ""
        if not script.endswith(SCRIPTS) or placeholders(script) or script.startswith("-"):
            return
        folder = cwd if command.cwd is not None else self._folder
        if not (folder / script).is_file():
            near = [path.name for path in sorted(folder.glob(f"*{Path(script).suffix}"))[:5]]
            raise FileNotFoundError(
                f"command.run: no file {script} in {folder}" + (f"; there are {', '.join(near)}" if near else "")
            )


def _with_full_path(argument: str, folder: Path) -> str:
    """Return an argument, or the part after its =, as a full path if it is a file in `folder`."""
    option, equals, value = argument.partition("=")
    for before, name in (("", argument), (option + equals, value)):
        try:
            if name and (folder / name).is_file():
                return f"{before}{folder / name}"
        except (OSError, ValueError):  # a text too long for a name
            continue
    return argument


class BoundedLog:
    """A file that output is appended to, and that keeps its last bytes."""

    def __init__(self, file: Path, limit: int = MAX_LOG) -> None:
        self._stream, self._limit = file.open("a+b"), limit

    def __enter__(self) -> BoundedLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.close()

    def write(self, content: bytes) -> None:
        self._stream.write(content)
        if self._stream.tell() > 2 * self._limit:
            self._stream.flush()
            self._stream.seek(-self._limit, os.SEEK_END)
            last = self._stream.read()
            self._stream.truncate(0)
            self._stream.write(last)

    def flush(self) -> None:
        self._stream.flush()


def _last_step(steps: int | str | None, values: Mapping[str, Any]) -> int:
    """The last step; 0 where it is unknown."""
    text = filled(steps, values) if isinstance(steps, str) else str(steps or 0)
    try:
        return max(0, int(float(text)))
    except (ValueError, OverflowError):
        return 0


def _environment(command: CommandSettings, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the worker's environment without Branchwise's path, with the space's variables."""
    branchwise_path = str(Path(__file__).parents[3])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != branchwise_path]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    env |= {"PYTHONPATH": os.pathsep.join(paths)} if paths else {}
    env |= {
        "PYTHONUNBUFFERED": "1",  # lines must arrive as they are printed
        "PATH": _with_environment_programs(env.get("PATH")),
    }
    return env | {name: filled(text, values) for name, text in command.env.items()}


def _with_environment_programs(path: str | None) -> str:
    """Return the PATH with the programs of this Python.

    First in a virtual environment while none is active, else last.
    """
    programs = str(Path(sys.executable).parent)
    active = {"VIRTUAL_ENV", "CONDA_PREFIX"} & os.environ.keys()
    first = sys.prefix != sys.base_prefix and not active and not _is_tool_environment(sys.prefix)
    return os.pathsep.join([programs, path or ""] if first else [path or "", programs])


def _is_tool_environment(prefix: str) -> bool:
    """Return whether uvx, `uv tool` or pipx made this environment for Branchwise alone.

    It then lacks the packages of scripts.
    """
    folders = Path(prefix).parts
    return (Path(prefix) / "uv-receipt.toml").exists() or any(
        pair in (("uv", "tools"), ("uv", "archive-v0"), ("pipx", "venvs")) for pair in itertools.pairwise(folders)
    )


def _write_config(form: str, folder: Path, arm: Arm) -> Path:
    """Write the settings and the seed into a file of the arm's folder."""
    tree = {**arm.spec.settings.model_dump(mode="json"), "seed": arm.seed}
    file = folder / f"config.{form}"
    if form == "toml":
        file.write_text("".join(_toml(tree)))
    else:
        file.write_text(json.dumps(tree, indent=1) if form == "json" else yaml.safe_dump(tree, sort_keys=False))
    return file


def _toml(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Yield lines of TOML, values before sections; numbers, texts and lists are as in JSON."""
    plain = {key: value for key, value in tree.items() if not isinstance(value, Mapping)}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in plain.items()]
    for key, section in tree.items():
        if isinstance(section, Mapping):
            lines += [f"\n[{prefix}{key}]\n", *_toml(section, f"{prefix}{key}.")]
    return lines


def _tail(log: Path) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - MAX_LOG))
        return stream.read().decode(errors="replace")


def _last_output(log: Path) -> str:
    """The last lines of the output since the attempt started, as the end of a message."""
    text = f"\n{_tail(log)}".rpartition("\n--- ")[2].partition("\n")[2]
    lines = last_lines(text.encode())
    return f"; it said: {lines}" if lines else ""
