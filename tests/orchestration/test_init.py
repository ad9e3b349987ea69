"""`init` reads a script's options without running it; the space hands over the script's defaults."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from branchwise.cli import main as branchwise
from branchwise.orchestration.authoring.metric_guess import guess_from_source, guesses_from_run
from branchwise.orchestration.authoring.scaffold import read_script, space_text, summary
from branchwise.orchestration.designs.ablation import Ablation
from branchwise.orchestration.space import Space, parse_space
from branchwise.trainables.command.arguments import filled_arguments
from branchwise.trainables.command.numbers import NumberPattern
from branchwise.trainables.command.settings import flat

ARGPARSE = """
    import argparse
    RATE, STEPS = 3e-4, 8 * 16
    p = argparse.ArgumentParser()
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("-lr", "--learning-rate", type=float, default=RATE)
    p.add_argument("--steps", type=int, default=STEPS)
    p.add_argument("--wd", type=float, default=-1e-05)
    p.add_argument("--ema", action=argparse.BooleanOptionalAction, default=True)
    p.add_argument("--mixup", action=argparse.BooleanOptionalAction, default=False)
    p.add_argument("--no-scale", action="store_true")
    p.add_argument("--no-aug", dest="aug", action="store_false")
    p.add_argument("--bn", type=bool, default=True)
    p.add_argument("--bias", type=lambda text: text.lower() == "true", default=False)
    p.add_argument("--debug", action="store_true")
    p.add_argument("--opt", choices=["adam", "sgd"], default="adam")
    p.add_argument("--hidden", nargs="+", type=int, default=[64, -32])
    p.add_argument("--prompt", default="say 'hi': it is {name}, # 1")
    p.add_argument("--copy", default="")
    p.add_argument("--big", type=int, default=10**30)
    p.add_argument("--out", default=None)
    p.add_argument("--tag", action="append", default=[])
    p.add_argument("--json", default="x")
    g = p.add_mutually_exclusive_group()
    g.add_argument("--fast", action="store_true")
    g.add_argument("--mode", default="slow")
    for name in ("--alpha", "--beta"):
        p.add_argument(name, type=float, default=0.5)
    p.set_defaults(copy="changed")
    print(sorted(vars(p.parse_args()).items()))
"""
CLICK = """
    import click
    @click.command()
    @click.option("--lr", default=0.1)
    @click.option("--wd", default=-0.5)
    @click.option("--ema/--no-ema", default=True)
    @click.option("--aug", is_flag=True)
    @click.option("--warm", type=bool, default=True)
    @click.option("--opt", type=click.Choice(["adam", "sgd"]), default="adam")
    @click.option("--seed", default=0)
    @click.option("--tag", multiple=True)
    def main(**options): print(sorted(options.items()))
    main()
"""
TYPER = """
    from typing import Annotated, Optional
    import typer
    def main(
        lr: float = 0.1, ema: bool = True, aug: bool = False, seed: int = 0, name: Optional[str] = None,
        wd: float = typer.Option(-0.5, "--weight-decay"), clip: Annotated[float, typer.Option(help="x")] = 1.0,
        bn: Annotated[bool, typer.Option("--bn/--without-bn")] = True,
    ): print(lr, ema, aug, seed, name, wd, clip, bn)
    typer.run(main)
"""
HUGGING_FACE = """
    from dataclasses import dataclass, field
    from typing import Optional
    from transformers import HfArgumentParser
    @dataclass
    class Arguments:
        seed: int = field(default=0)
        lr: float = field(default=1e-4, metadata={"help": "rate"})
        ema: bool = True
        aug: bool = field(default=False)
        name: Optional[str] = None
        layers: list[int] = field(default_factory=lambda: [1])
    print(HfArgumentParser(Arguments).parse_args_into_dataclasses())
"""
ABSL = """
    from absl import app, flags
    flags.DEFINE_integer("seed", 0, "x")
    flags.DEFINE_float("lr", default=-0.5, help="x")
    flags.DEFINE_enum("sampling", "outcome", ["external", "outcome"], "x")
    flags.DEFINE_list("layers", ["64", "32"], "x")
    flags.DEFINE_bool("norm", True, "x")
    flags.DEFINE_boolean("use_ema", False, "x")
    flags.DEFINE_bool(name="disable_aug", default=False, help="x")
    flags.DEFINE_multi_string("tag", ["a"], "x")
    flags.DEFINE_string("out", None, "x")
    app.run(lambda _: print(sorted((k, v) for k, v in flags.FLAGS.flag_values_dict().items() if k in (
        "seed", "lr", "sampling", "layers", "norm", "use_ema", "disable_aug", "tag", "out"))))
"""
SUBCOMMANDS = """
import argparse
p = argparse.ArgumentParser()
commands = p.add_subparsers(dest="c")
train = commands.add_parser("train")
export = commands.add_parser("export")
train.add_argument("--ema", action="store_true")
export.add_argument("--to", default="x")
"""
SCRIPTS = {"argparse": ARGPARSE, "click": CLICK, "typer": TYPER, "HfArgumentParser": HUGGING_FACE, "absl": ABSL}


def space_of(tmp_path: Path, text: str) -> tuple[str, Space]:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(text))
    draft = read_script(script)
    return summary(draft), parse_space("train.yaml", space_text(draft).encode(), folder=str(tmp_path))


def without(space: Space) -> dict[str, dict[str, Any]]:
    """The settings without each component."""
    assert isinstance(space.design, Ablation)
    components = space.design.components
    return {name: component.off for name, component in components.items() if component.off is not None}


def argv_of(space: Space, patch: dict[str, Any]) -> list[str]:
    spec = space.method.patched(patch)
    return filled_arguments(spec.command.run, {**flat(spec.settings), "seed": 0, "folder": "f"})[2:]


def printed(tmp_path: Path, arguments: list[str]) -> str:
    command = [sys.executable, "train.py", *arguments]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_components_change_single_defaults(name: str, tmp_path: Path) -> None:
    draft, space = space_of(tmp_path, SCRIPTS[name])
    assert f"({name})" in draft
    defaults_printed = printed(tmp_path, [])
    assert printed(tmp_path, argv_of(space, {})) == defaults_printed
    outputs = {defaults_printed}
    for patch in without(space).values():
        outputs.add(printed(tmp_path, argv_of(space, patch)))
    assert len(outputs) == 1 + len(without(space))


def test_omissions_are_reported(tmp_path: Path) -> None:
    draft, space = space_of(tmp_path, ARGPARSE)
    assert draft.startswith("found 17 of 22 options (argparse); left at the script's defaults: ")
    for reason in (
        "--big (its default has more than 64 bits)",
        "--out (it has no default)",
        "--tag (its action is append)",
        "--mode (it excludes other options)",
        "an option on line 28 (its name is computed when the script runs)",
    ):
        assert reason in draft
    assert list(without(space)) == ["ema", "no_mixup", "scale", "aug", "bn", "no_bias"]
    assert space.design.blocks == 5


def test_required_and_positional_options_are_to_be_filled_in(tmp_path: Path) -> None:
    text = """
        import argparse
        p = argparse.ArgumentParser()
        p.add_argument("data"); p.add_argument("--epochs", type=int, required=True); p.add_argument("--lr", default=0.1)
        p.add_argument("--config", default="base.yaml")
        print(p.parse_args())
    """
    draft, space = space_of(tmp_path, text)
    assert "fill in data, --epochs: required, without a default" in draft
    assert argv_of(space, {}) == ["--epochs=1", "--lr=0.1", "--config=base.yaml", "FILL_IN"]
    printed(tmp_path, argv_of(space, {}))


def test_options_of_local_modules_and_subcommands(tmp_path: Path) -> None:
    (tmp_path / "options.py").write_text(SUBCOMMANDS)
    draft, space = space_of(tmp_path, "from options import p\nprint(p.parse_args())\n")
    assert "the subcommand train" in draft
    assert "--to (belongs to the subcommand export)" in draft
    assert argv_of(space, {}) == ["train"]
    assert "ema=True" in printed(tmp_path, argv_of(space, without(space)["no_ema"]))


def test_hydra_config_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/config.yaml").write_text(
        "defaults: [_self_]\nseed: 0\nema: true\noptimizer: {lr: 1e-3, betas: [0.9, 0.99]}\nname: ${ema}\n"
    )
    text = "import hydra\n@hydra.main(config_path='conf', config_name='config')\ndef main(cfg): pass\nmain()\n"
    draft, space = space_of(tmp_path, text)
    assert "found 3 of 5 options (Hydra)" in draft
    assert argv_of(space, {}) == ["seed=0", "ema=true", "optimizer.lr=0.001"]
    assert argv_of(space, without(space)["ema"])[1] == "ema=false"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("fire.Fire({'run': run})", ["run", "--lr=0.1"]),
        ("fire.Fire({'train': other, 'run': run})", ["train", "--wd=0.2"]),
        ("fire.Fire()", ["run", "--lr=0.1"]),
        ("fire.Fire(run)", ["--lr=0.1"]),
    ],
)
def test_commands_of_fire(call: str, expected: list[str], tmp_path: Path) -> None:
    functions = "def other(wd=0.2): pass\ndef run(lr=0.1): pass\n"
    _, space = space_of(tmp_path, f"import fire\n{functions}{call}\n")
    assert argv_of(space, {}) == expected


@pytest.mark.parametrize(
    ("text", "source", "maximize", "percent"),
    [
        ("print(f'loss {v} test accuracy: {a}%')", {"pattern": "test accuracy: (?P<accuracy>{number})"}, True, True),
        ("log.info('Step %d train loss: %s', i, v)", {"pattern": "train loss: (?P<loss>{number})"}, False, False),
        ("log.log(20, 'reward %s', v)", {"pattern": "reward (?P<reward>{number})"}, True, False),
        ("logger.info('reward {}', v)", {"pattern": "reward (?P<reward>{number})"}, True, False),
        ("print('learning rate', v)", None, True, False),
        ("print('loss %.4f' % v)", {"pattern": "loss (?P<loss>{number})"}, False, False),
        (
            "print('Test set: Average loss: {:.4f}, Accuracy: {}/{} ({:.0f}%)'.format(a, b, c, d))",
            {"pattern": r"Accuracy: {number}/{number} \((?P<Accuracy>{number})"}, True, True,
        ),
        ("print('epoch', e, 'acc', a)", {"pattern": "acc (?P<acc>{number})"}, True, False),
        ("import json; json.dump({'f1': f}, open('out/r.json', 'w'))", {"file": "r.json", "key": "f1"}, True, False),
        ("import json; print(json.dumps({'step': 1, 'val_loss': v}))", {"key": "val_loss"}, False, False),
        ("print('hello'); print(f'{x}')", None, True, False),
    ],
)  # fmt: skip
def test_metric_is_guessed_from_source(text: str, source: dict[str, str] | None, maximize: bool, percent: bool) -> None:
    guess = guess_from_source(ast.parse(text))
    if source is None:
        assert guess is None
        return
    assert guess is not None
    result = dict(guess.source)
    key = guess.key
    expected = {name: value.replace("Accuracy>", f"{key}>") for name, value in source.items()}
    assert (result, guess.maximize, guess.percent) == (expected, maximize, percent)


@pytest.mark.parametrize(
    "text", ["", "import", "\0", "print(" * 300, "x = 1\n", "add_argument('--x')", "p.add_argument()"]
)
def test_odd_scripts_are_refused_or_need_edits(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.py").write_text(text)
    code = branchwise(["init", "s.py"])
    output = capsys.readouterr()
    assert code == (0 if (tmp_path / "s.yaml").exists() else 2)
    assert (
        "complete the file" in output.out
        if code == 0
        else output.err.startswith("branchwise init: s.py: is not Python")
    )


TRIED = """
import argparse, random
p = argparse.ArgumentParser()
p.add_argument("--seed", type=int, default=0)
p.add_argument("--no-scale", action="store_true")
p.add_argument("--ghost", action=argparse.BooleanOptionalAction, default=True)
o = p.parse_args()
base = float(open("data/x.txt").read())
value = 100 * (base - 0.1 * o.no_scale + random.Random(o.seed).gauss(0, 0.01))
what = "Accuracy"
print("Epoch 1 train loss", 0.5)
print(f"Test {what}: {value:.2f}%")
"""


def test_try_detects_metric_folder_and_no_ops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x.txt").write_text("0.7")
    (tmp_path / "train.py").write_text(TRIED)
    assert branchwise(["init", "train.py", "--try"]) == 0
    output = capsys.readouterr().out
    for message in (
        "it reads data/x.txt from where it lies: cwd is set",
        "metric accuracy (pattern: Test Accuracy: (?P<accuracy>{number})), higher is better, in per cent",
        "seed 0 once more: the same",
        "ghost off (--no-ghost): changes nothing",
    ):
        assert message in output
    assert "seed changes nothing" not in output
    space = parse_space("train.yaml", (tmp_path / "train.yaml").read_bytes(), folder=str(tmp_path))
    assert (space.spec.command.range, space.spec.command.direction) == ((0.0, 100.0), "maximize")
    assert branchwise(["try", "train.yaml", "--arm", "base-b1"]) == 0
    assert capsys.readouterr().out.startswith("base-b1 (seed 1): accuracy 6")
    assert branchwise(["try", "train.yaml", "--arm", "base"]) == 2
    assert "--arm base: there is no such arm; there are full-b0" in capsys.readouterr().err
    (tmp_path / "data/x.txt").unlink()
    assert branchwise(["try", "train.yaml"]) == 3
    failed = capsys.readouterr()
    assert "FileNotFoundError" in failed.err
    assert failed.out.startswith("full-b0 (seed 0): failed: exit code 1; it said: ")


def test_try_reports_script_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(TRIED.replace("random\n", "random, no_such_thing\n"))
    assert branchwise(["init", "train.py", "--try"]) == 2
    assert "--try: the script fails with its defaults: exit code 1; it said: " in capsys.readouterr().err
    assert not (tmp_path / "train.yaml").exists()


def test_unknown_metric_is_proposed_for_checking(tmp_path: Path) -> None:
    log = "Iteration 3 exploitability 0.4\nstep 5 quality 0.25 lr 0.001 epoch 2.0\n"
    first, second = guesses_from_run(log, tmp_path)
    assert (first.key, first.maximize, first.is_certain) == ("exploitability", False, True)
    assert (second.key, second.is_certain) == ("quality", False)
    (entry,) = guesses_from_run("{'epoch': 1.0, 'quality': 0.25, 'learning_rate': 0.1}\n", tmp_path)
    assert entry.source == {"key": "quality"}


@pytest.mark.parametrize(
    ("log", "key", "value"),
    [
        ("train: acc 0.5, test: acc 0.7", "acc", 0.7),
        ("train_acc 0.5 acc 0.7", "acc", 0.7),
        ("[eval] acc: 0.9\n[train] acc: 0.95", "acc", 0.9),
        ("epoch =1, train_acc = 0.5000, test_acc = 0.9300, max_test_acc = 0.9400", "test_acc", 0.93),
        ("|    value_loss   | 9.2 |\n|    ep_rew_mean  | 42.7         |", "ep_rew_mean", 42.7),
        ("Episode 9\tLast reward: 9.0\tAverage length: 55.2", "length", 55.2),
    ],
)
def test_guess_reads_its_source_value(log: str, key: str, value: float, tmp_path: Path) -> None:
    guesses = {guess.key: guess for guess in guesses_from_run(log, tmp_path)}
    pattern = NumberPattern(guesses[key].source["pattern"], key)
    assert [groups[key].value for line in log.splitlines() if (groups := pattern.search(line))][-1] == value
    assert next(iter(guesses)) in (key, "reward")


@pytest.mark.parametrize(
    "template",
    [
        "acc: {:6.2f}",
        "acc={:6.2f}",
        "Acc {:6.2f} ({:6.2f})",
        "| acc | {:<8} |",
        "hits {:3d} acc ({:5.1f}%)",
        "acc\t{:6.2f}",
    ],
)
def test_pattern_of_one_line_reads_lines_of_other_widths(template: str, tmp_path: Path) -> None:
    lines = [template.format(*[9] * ("d}" in template), *[value] * 2) for value in (9.5, 10.5, 100.5)]
    for line in lines:
        (guess,) = (guess for guess in guesses_from_run(line, tmp_path) if guess.key == "acc")
        pattern = NumberPattern(guess.source["pattern"], "acc")
        groups = [pattern.search(other) for other in lines]
        assert [found["acc"].value for found in groups if found] == [9.5, 10.5, 100.5]


def test_seed_without_default_and_in_other_spelling(tmp_path: Path) -> None:
    text = "import argparse\np = argparse.ArgumentParser()\np.add_argument('--manualSeed', type=int)\n"
    tools = "".join(f"p.add_argument({flag!r}, action='store_true')\n" for flag in ("--secure-rng", "--render"))
    _, space = space_of(tmp_path, f"{text}{tools}p.add_argument('--lr', default=0.1)\n")
    assert "--manualSeed=0" in argv_of(space, {})
    assert list(without(space)) == ["lr"]


@pytest.mark.parametrize(
    ("option", "component", "off"),
    [
        ('"--ema", action="store_true"', "no_ema", "--ema"),
        ('"--use-ema", action="store_true"', "no_ema", "--use-ema"),
        ('"--disable-dp", action="store_true"', "dp", "--disable-dp"),
        ('"--no-aug", dest="aug", action="store_false"', "aug", "--no-aug"),
        ('"--no-aug", type=bool, default=True', "no_aug", "--no-aug="),
        ('"--skip-norm", action=argparse.BooleanOptionalAction, default=False', "norm", "--skip-norm"),
        ('"--norm", action=argparse.BooleanOptionalAction, default=True', "norm", "--no-norm"),
    ],
)
def test_component_names_what_script_does_by_default(option: str, component: str, off: str, tmp_path: Path) -> None:
    _, space = space_of(tmp_path, f"import argparse\np = argparse.ArgumentParser()\np.add_argument({option})\n")
    assert list(without(space)) == [component]
    assert argv_of(space, without(space)[component]) == [off]


def test_values_are_set_in_place_of_defaults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.py").write_text(textwrap.dedent(ARGPARSE))
    given = ["--set", "steps=3", "--set", "out=o", "--set", "no-scale=true", "--set", "ema=false", "--set", "prompt=7"]
    assert branchwise(["init", "s.py", *given]) == 0
    space = parse_space("s.yaml", (tmp_path / "s.yaml").read_bytes(), folder=str(tmp_path))
    called = argv_of(space, {})
    assert {"--steps=3", "--out=o", "--no-scale", "--no-ema", "--prompt=7"} <= set(called)
    assert list(without(space))[:3] == ["no_ema", "no_mixup", "no_scale"]
    assert "--ema" in argv_of(space, without(space)["no_ema"])
    assert "--no-scale" not in argv_of(space, without(space)["no_scale"])
    for bad in ("seed=1", "nothing=1", "steps", "ema=maybe", "steps=null"):
        assert branchwise(["init", "s.py", "--out", "t.yaml", "--set", bad]) == 2
        assert f"--set {bad}: " in capsys.readouterr().err
    assert not (tmp_path / "t.yaml").exists()


def test_folder_option_sets_cwd_if_required(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    text = """
        import argparse, os, sys
        p = argparse.ArgumentParser()
        p.add_argument("--root", default="../mnist")
        p.add_argument("--lr", type=float, default=0.5)
        o = p.parse_args()
        if not os.path.isdir(o.root): sys.exit("no network to download it")
        print("test accuracy", o.lr)
    """
    (tmp_path / "train.py").write_text(textwrap.dedent(text))
    assert branchwise(["init", "train.py", "--try"]) == 2
    printed_texts = capsys.readouterr()
    assert "no network to download it; give what it needs by --set NAME=VALUE" in printed_texts.err
    assert "cwd is set" not in printed_texts.out, "where it lies it fails, too"
    assert branchwise(["init", "train.py", "--try", "--set", "root=digits"]) == 0
    output = capsys.readouterr().out
    assert "it reads digits from where it lies: cwd is set" in output
    assert "second run: the same; no option sets a seed, so blocks differ only if the script is random" in output
    fixed = text.replace("o.root", "'digits'").replace('p.add_argument("--root", default="../mnist")', "")
    (tmp_path / "fixed.py").write_text(textwrap.dedent(fixed))
    assert branchwise(["init", "fixed.py", "--try"]) == 0
    assert "it reads digits from where it lies: cwd is set" in capsys.readouterr().out
