"""What a command is given, and what is read of it; without Ray."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from branchwise.trainables import load_trainable
from branchwise.trainables.command.arguments import filled_arguments
from branchwise.trainables.command.trial import BoundedLog, ProgramFailedError
from branchwise.trainables.testing import check_trainable

PRINTS_ARGUMENTS = """
    import json, os, sys
    json.dump(sys.argv[1:], open("words.json", "w"))
    json.dump(dict(os.environ), open("environment.json", "w"))
    print(json.dumps({"accuracy": 0.5}))
"""
Run = Callable[..., Any]
Program = Callable[[str], Path]


def test_it_keeps_contract(tree: dict[str, Any], train: Path) -> None:
    check_trainable("command", tree, diverging={"lr": 5.0}, folder=str(train))


def test_arguments_are_filled_and_empty_dropped() -> None:
    values = {"lr": 0.001, "ema": "", "flags": ("--a", 2), "on": True, "opt.name": "adam"}
    texts = ("x", "--lr={lr}", "{ema}", "{flags}", "use={on}", "{opt.name}", "{{lr}}", "{ema}{ema}")
    assert filled_arguments(texts, values) == ["x", "--lr=0.001", "--a", "2", "use=true", "adam", "{lr}"]


def test_program_gets_arguments_environment_and_folders(tree: dict[str, Any], program: Program, run: Run) -> None:
    data = program(PRINTS_ARGUMENTS) / "data.csv"
    data.touch()
    given = ["data.csv", "--data=data.csv", "--no-data=x.csv", f"--prompt={'text ' * 80}"]
    tree["command"] |= {
        "run": ["python", "train.py", "{lr}", "{ema}", "{seed}", "{checkpoints}", "{folder}", *given],
        "metric": {"key": "accuracy"},
        "env": {"RATE": "rate {lr}"},
    }
    tree["settings"]["ema"] = ""
    calls = run(tree, seed=7)
    argv = json.loads(calls.folders["arm"]["words.json"])
    assert argv[:2] == ["0.001", "7"]
    assert argv[2].endswith("workspaces/arm/checkpoints")
    assert argv[4:] == [str(data), f"--data={data}", *given[2:]]
    environment = json.loads(calls.folders["arm"]["environment.json"])
    assert environment["RATE"] == "rate 0.001"
    assert environment["PWD"] != argv[3]  # its files are in its folder


@pytest.mark.parametrize(
    ("form", "read"),
    [("yaml", yaml.safe_load), ("json", json.loads), ("toml", tomllib.loads)],
    ids=["yaml", "json", "toml"],
)
def test_all_settings_go_into_config_file(
    form: str, read: Callable[[str], Any], tree: dict[str, Any], program: Program, run: Run
) -> None:
    program("import json, sys; json.dump({'accuracy': 0.5, 'config': open(sys.argv[1]).read()}, open('r.json', 'w'))")
    tree["command"] |= {
        "run": ["python", "train.py", "{config}"],
        "config": form,
        "metric": {"file": "r.json", "key": "accuracy"},
    }
    tree["settings"] = {"ema": True, "sizes": [1, 2], "optimizer": {"lr": 0.1, "name": 'a "b"'}}
    calls = run(tree, seed=5)
    config = json.loads(calls.folders["arm"]["r.json"])["config"]
    assert read(config) == {**tree["settings"], "seed": 5}


@pytest.mark.parametrize(
    ("source", "printed", "value"),
    [
        ({"key": "accuracy"}, 'noise\\n{"accuracy": 0.5}\\n{"accuracy": 0.75, "other": 1}', 0.75),
        ({"key": "test.accuracy"}, '{"test": {"accuracy": 0.25}}', 0.25),
        ({"pattern": r"acc (?P<accuracy>[0-9.]+)"}, "acc 0.15 now\\nacc 0.975", 0.975),
        ({"key": "accuracy", "pattern": "acc {number}"}, "acc 0.15 now\\nacc 9.75e-01", 0.975),
        ({"key": "accuracy"}, "{'accuracy': np.float64(0.75), 'note': None, 'flag': True}", 0.75),
        ({"key": "accuracy"}, ' 50%|###   |\\r{"accuracy": 0.5}', 0.5),
    ],
    ids=["JSON line", "nested", "pattern", "{number}", "Python dict", "behind a progress bar"],
)
def test_metric_sources(
    source: dict[str, str], printed: str, value: float, tree: dict[str, Any], program: Program, run: Run
) -> None:
    program(f'print("""{printed}""")')
    tree["command"] |= {"metric": source}
    result = run(tree).results["arm"]
    assert (result.status, result.values["value"]) == ("done", value)


def test_further_metrics_become_outcomes(tree: dict[str, Any], train: Path, run: Run) -> None:
    del train
    tree["command"]["outcomes"] = {
        "gpu_cost": {"file": "result.json", "key": "cost.gpu.0", "direction": "minimize"},
        "loss": {"key": "loss", "direction": "minimize"},
    }
    values = run(tree).results["arm"].values
    assert values["metric"] == "accuracy"
    assert (values["gpu_cost"], values["loss"]) == (1.5, 0.25)
    columns = {column.name: column for column in load_trainable("command", tree).COLUMNS}
    assert (columns["value"].better, columns["value"].scale) == ("higher", "logit")
    assert (columns["loss"].better, columns["loss"].scale) == ("lower", "log")
    assert columns["gpu_cost"].searchable


def test_progress_and_curves(tree: dict[str, Any], train: Path, run: Run) -> None:
    del train
    tree["command"]["progress"] = {"steps": 4}
    calls = run(tree)
    assert calls.reports[0]["step"] == 0
    assert calls.reports[-1] == {"phase": "train", "step": 4, "steps": 4}
    rows = calls.results["arm"].tables["curves"]
    assert rows[1] == {"step": 2, "accuracy": 0.2, "loss": 0.5}
    assert calls.results["arm"].values["steps"] == 4


def test_progress_by_pattern(tree: dict[str, Any], program: Program, run: Run) -> None:
    program("print('epoch 1: acc 0.25'); print('epoch 2: acc 0.5'); print('{\"accuracy\": 0.6}')")
    tree["command"] |= {
        "metric": {"key": "accuracy"},
        "progress": {"step": "epoch", "metric": "acc", "pattern": r"epoch (?P<epoch>\d+): acc (?P<acc>\S+)"},
    }
    calls = run(tree, rungs=(1,))
    assert [row["acc"] for row in calls.results["arm"].tables["curves"]] == [0.25, 0.5]
    assert calls.rung_calls == [(1, -0.25)]


def test_arm_that_is_behind_ends_at_its_rung(tree: dict[str, Any], program: Program, run: Run) -> None:
    program("""
        import json, time
        for step in range(1, 100):
            print(json.dumps({"step": step, "accuracy": 0.01 * step}))
            time.sleep(0.05)
    """)
    tree["command"]["metric"] = {"key": "accuracy"}
    calls = run(tree, rungs=(2, 4), limit=-0.03)  # higher is better: the rungs are reported minus the accuracy
    result = calls.results["arm"]
    assert calls.rung_calls == [(2, -0.02)]
    assert (result.status, result.values["rung_value"], result.values["steps"]) == ("stopped", 0.02, 2)


@pytest.mark.parametrize(
    ("text", "status", "error"),
    [
        ("", "failed", "accuracy is missing: the program has not written result.json into its folder"),
        ("open('result.json', 'w').write('{}')", "failed", "result.json has no such key"),
        ("open('result.json', 'w').write('no')", "failed", "result.json is not a JSON file"),
        ("open('result.json', 'w').write('{\"accuracy\": \"high\"}')", "failed", "'high', which is not a number"),
        ("open('result.json', 'w').write('{\"accuracy\": true}')", "failed", "True, which is not a number"),
        ("open('result.json', 'w').write('{\"accuracy\": NaN}')", "diverged", "accuracy is nan"),
        ("open('result.json', 'w').write('{\"accuracy\": -Infinity}')", "diverged", "accuracy is -inf"),
    ],
)
def test_missing_metric_is_failure_with_reason(
    text: str, status: str, error: str, tree: dict[str, Any], program: Program, run: Run
) -> None:
    program(f"print('the last words')\n{text}")
    result = run(tree).results["arm"]
    assert result.status == status
    assert error in result.error
    assert status == "diverged" or result.error.endswith("; it said: the last words")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import sys; print('a'); sys.exit('no data')", "^exit code 1; it said: a . no data$"),
        ("import os; os.kill(os.getpid(), 9)", "^killed by signal 9$"),
    ],
)
def test_failed_program_can_be_retried(text: str, error: str, tree: dict[str, Any], program: Program, run: Run) -> None:
    program(text)
    with pytest.raises(ProgramFailedError, match=error):
        run(tree)


def test_checkpoints_outlive_attempt_and_log_has_both(
    tree: dict[str, Any], program: Program, run: Run, tmp_path: Path
) -> None:
    program("""
        import json, pathlib, sys
        file = pathlib.Path(sys.argv[1], "state")
        if not file.exists():
            file.write_text("half")
            sys.exit("lost")
        print(json.dumps({"accuracy": 0.5, "found": file.read_text()}))
    """)
    tree["command"] |= {"run": ["python", "train.py", "{checkpoints}"], "metric": {"key": "accuracy"}}
    tree["settings"] = {}
    with pytest.raises(ProgramFailedError, match="lost"):
        run(tree)
    calls = run(tree)
    assert calls.results["arm"].status == "done"
    assert "lost" in calls.logs["arm"]
    assert '"found": "half"' in calls.logs["arm"]


def test_working_directory_is_configurable(tree: dict[str, Any], tmp_path: Path, run: Run) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/data.txt").write_text("0.5")
    (tmp_path / "code/train.py").write_text(
        "import json, sys; json.dump({'accuracy': float(open('data.txt').read())}, open(sys.argv[1], 'w'))"
    )
    tree["command"] |= {"run": ["python", "train.py", "{folder}/result.json"], "cwd": "code"}
    tree["settings"] = {}
    assert run(tree).results["arm"].values["value"] == 0.5


def test_missing_program_is_reported(tree: dict[str, Any], tmp_path: Path, run: Run) -> None:
    tree["command"]["run"] = ["no-such-program", "{lr}", "{ema}"]
    trainable = load_trainable("command", tree, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"command\.run: no program 'no-such-program' in"):
        trainable.check_inputs(trainable.Spec.model_validate(tree))
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        run(tree)


@pytest.mark.parametrize(
    ("stdout", "stderr", "value"),
    [
        ("", "INFO:root:acc 0.5", 0.5),
        ("acc 0.25", "acc 0.5", 0.25),
        (r"\\x1b[32macc\\x1b[0m \\x1b[1m0.5\\x1b[0m", "", 0.5),
        (r"acc 0.1\\r\\x1b[2Kacc 0.25\\racc 0.5", "", 0.5),
        (r"acc 0.1\\x08\\x08\\x08\\x08\\x08\\x08\\x08acc 0.5", "", 0.5),
        (r"\\x1b]8;;http://x\\x07acc 0.5\\x1b]8;;\\x07", "", 0.5),
    ],
    ids=["standard error", "both", "colors", "carriage returns", "backspaces", "hyperlink"],
)
def test_pattern_reads_what_terminal_shows(
    stdout: str, stderr: str, value: float, tree: dict[str, Any], program: Program, run: Run
) -> None:
    program(f"import sys; sys.stdout.write('{stdout}'); sys.stderr.write('{stderr}')".replace("\\\\", "\\"))
    tree["command"] |= {"metric": {"key": "accuracy", "pattern": "acc {number}"}}
    result = run(tree).results["arm"]
    assert (result.status, result.values.get("value")) == ("done", value), result.error


def test_last_match_wins_even_as_nan(tree: dict[str, Any], program: Program, run: Run) -> None:
    program("print('epoch 1 loss 0.7'); print('epoch 2 loss nan')")
    tree["command"] |= {"metric": {"pattern": "loss (?P<loss>[0-9.]+)"}}
    result = run(tree).results["arm"]
    assert (result.status, result.error, result.values["metric"]) == ("diverged", "loss is nan", "loss")


@pytest.mark.parametrize(
    ("printed", "declared", "output"),
    [
        (
            "acc 71.59%",
            {},
            "accuracy is 71.59%, but rates lie between 0 and 1 unless declared; write `range: [0, 100]`",
        ),
        ("acc 71.59", {}, "accuracy is 71.59, but rates lie between 0 and 1"),
        ("acc 0.8%", {}, "accuracy is 0.8%, but rates"),
        ("acc 0.8%", {"range": [0, 1]}, "accuracy is 0.8%, but rates"),
        ("acc -0.1", {}, "accuracy is -0.1, but rates"),
        ("acc 101", {"range": [0, 100]}, "accuracy is 101.0, which is not in its range [0.0, 100.0]"),
    ],
)
def test_rate_in_per_cent_must_be_declared(
    printed: str, declared: dict[str, Any], output: str, tree: dict[str, Any], program: Program, run: Run
) -> None:
    program(f"print('{printed}')")
    tree["command"] |= {"metric": {"key": "accuracy", "pattern": "acc {number}"}, **declared}
    result = run(tree).results["arm"]
    assert result.status == "failed"
    assert output in result.error


def test_declared_range_accepts_percent(tree: dict[str, Any], program: Program, run: Run) -> None:
    program("print('acc 71.59 %')")
    tree["command"] |= {"metric": {"key": "accuracy", "pattern": "acc {number}"}, "range": [0, 100]}
    assert run(tree).results["arm"].values["value"] == 71.59


PROGRESS = [
    '{"step": NaN}', '{"step": Infinity}', '{"step": 1e400}', '{"step": -1}', '{"step": true}', '{"step": "1"}',
    '{"step": 1, "steps": null}', '{"step": 1, "steps": "1/10"}', '{"step": 1, "steps": NaN}',
    '{"step": 1, "loss": 1' + "0" * 400 + "}", '{"step": 1, "loss": 1' + "0" * 5000 + "}",
    '{"step": 1' + "0" * 400 + "}",
    '{"step": 1, "arm": 3, "seed": 4, "cell": 5, "sweep": 1, "self": 2, "block": 9, "value": 1, "": 2, "steps": -3}',
    '{"a":' * 100_000, "[" * 100_000, "{'step': 1, 'x': " + "(" * 1000, "{'step': 1}; print(1)", "{", "{}", "\x00{",
]  # fmt: skip


def test_progress_lines_never_fail_arm(tree: dict[str, Any], program: Program, run: Run) -> None:
    program(f"for line in {PROGRESS!r}: print(line)\nprint('{{\"accuracy\": 0.5}}')")
    tree["command"] |= {"metric": {"key": "accuracy"}}
    result = run(tree).results["arm"]
    assert (result.status, result.values.get("value")) == ("done", 0.5), result.error
    assert not {"arm", "cell", "sweep", "block"} & {key for row in result.tables["curves"] for key in row}


def test_slow_pattern_ends_arm(tree: dict[str, Any], program: Program, run: Run) -> None:
    program("print('a' * 60 + '!')")
    tree["command"] |= {"metric": {"pattern": "(?P<accuracy>(?:a|aa)+)$"}}
    assert "accuracy is missing: pattern" in run(tree).results["arm"].error
    assert "took more than 2 s on a line of 61 characters" in run(tree).results["arm"].error
    tree["command"] |= {"metric": {"key": "accuracy"}, "progress": {"pattern": "(?P<step>(?:a|aa)+)$"}}
    program("print('a' * 60 + '!'); print('{\"accuracy\": 0.5}')")
    calls = run(tree)
    assert calls.results["arm"].status == "done"
    assert "--- command.progress: pattern" in calls.logs["arm"]


def test_old_result_file_is_not_this_attempts(tree: dict[str, Any], program: Program, run: Run) -> None:
    tree["command"] |= {
        "run": ["python", "train.py", "{checkpoints}", "{lr}", "{ema}"],
        "metric": {"file": "{checkpoints}/result.json", "key": "accuracy"},
    }
    program("import sys; open(sys.argv[1] + '/result.json', 'w').write('{\"accuracy\": 0.5}')")
    assert run(tree).results["arm"].status == "done"
    program("print('nothing')")
    assert "result.json is older than this attempt" in run(tree).results["arm"].error
    program("import os, pathlib; pathlib.Path('r.json').write_text('{\"accuracy\": 0.5}'); os.utime('r.json', (1, 1))")
    tree["command"]["metric"]["file"] = "r.json"
    assert "r.json is older than this attempt" in run(tree).results["arm"].error


def test_misplaced_result_is_named(tree: dict[str, Any], program: Program, run: Run) -> None:
    folder = program("import os; os.mkdir('o'); open('o/result.json', 'w').write('{\"accuracy\": 0.5}')")
    assert "has not written result.json into its folder; it wrote o/result.json" in run(tree).results["arm"].error
    tree["command"]["cwd"] = "."
    program("open('result.json', 'w').write('{\"accuracy\": 0.5}')")
    error = run(tree).results["arm"].error
    assert f"{folder}/result.json is there, but command.cwd makes all arms run in {folder}" in error


@pytest.mark.parametrize("form", ["jsonl", "bom", "dotted"])
def test_forms_of_result_files(form: str, tree: dict[str, Any], program: Program, run: Run) -> None:
    texts = {
        "jsonl": b'{"m": {"acc": 0.1}}\n{"m": {"acc": 0.5}}\n{"other": 1}\n',
        "bom": '\ufeff{"m": {"acc": 0.5}}'.encode(),
        "dotted": b'{"m.acc": 0.5, "m": {"loss": 1}}',
    }
    program(f"open('r', 'wb').write({texts[form]!r})")
    tree["command"] |= {"metric": {"key": "m.acc", "file": "r"}}
    assert run(tree).results["arm"].values["value"] == 0.5


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("os.mkfifo('result.json')", "result.json is not a regular file"),
        ("os.mkdir('result.json')", "result.json is not a regular file"),
        ("os.symlink('result.json', 'result.json')", "has not written result.json"),
        ("os.symlink('/dev/zero', 'result.json')", "result.json is not a regular file"),
        ("open('result.json', 'w').write('{\"accuracy\":' * 200_000)", "it is nested too deeply"),
        ("open('result.json', 'w').write('{\"accuracy\": 1' + '0' * 5000 + '}')", "accuracy is inf"),
        ("open('result.json', 'w').truncate(1 << 40)", "result.json is larger than 64 MB"),
        ("open('result.json', 'w').write('{\"loss\": 1, \"f1\": 2}')", "has no such key; it has loss, f1"),
    ],
)
def test_odd_result_files_fail_with_message(
    text: str, error: str, tree: dict[str, Any], program: Program, run: Run
) -> None:
    program(f"import os\n{text}")
    result = run(tree).results["arm"]
    assert result.status != "done"
    assert error in result.error


def test_log_is_bounded(tmp_path: Path) -> None:
    with BoundedLog(tmp_path / "log", limit=1000) as log:
        for number in range(2000):
            log.write(f"{number:9}\n".encode())
    text = (tmp_path / "log").read_text()
    assert len(text) <= 2000
    assert text.endswith(f"{1998:9}\n{1999:9}\n")


def test_permanent_failures_are_not_retried(tree: dict[str, Any], program: Program, run: Run) -> None:
    folder = program("import no_such_module_anywhere")
    assert "ModuleNotFoundError: No module named 'no_such_module_anywhere'" in run(tree).results["arm"].error
    (folder / "data").mkdir()
    (folder / "data/x.txt").write_text("0.5")
    program("open('data/x.txt')")
    error = run(tree).results["arm"].error
    assert f"data/x.txt lies in {folder}, but the program runs in a folder of its own: write command.cwd: ." in error


def test_missing_script_is_refused(tree: dict[str, Any], train: Path) -> None:
    trainable = load_trainable("command", tree, str(train))
    spec = trainable.Spec.model_validate(tree)
    trainable.check_inputs(spec)
    rows = dict(trainable.describe(spec))
    assert Path(rows["program"]).name.startswith("python")
    (train / "train.py").rename(train / "fit.py")
    with pytest.raises(FileNotFoundError, match=r"no file train\.py in .*; there are fit\.py"):
        trainable.check_inputs(spec)
