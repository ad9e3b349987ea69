"""Tables as people have them: the right arms, levels and units, or a message that states what is wrong."""

from __future__ import annotations

import gzip
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from branchwise.analysis.declared.claim_grammar import parse_claim
from branchwise.analysis.declared.claims import Vocabulary
from branchwise.analysis.declared.factors import Factor, Grid, combinations
from branchwise.analysis.importers.arrange import Arranged, arrange
from branchwise.analysis.importers.options import ImportOptions, split_levels, split_names
from branchwise.analysis.importers.sources import read_runs
from branchwise.analysis.records.damage import RunFolderError

HEADER = "ema,seed,accuracy"
VALUES = [0.7996, 0.8311, 0.7973, 0.8282, 0.7948, 0.8266]


def rows(**columns: list[Any] | np.ndarray | str) -> pd.DataFrame:
    """Six runs, two levels at three seeds, with columns replaced."""
    frame = pd.DataFrame({"ema": [0, 1] * 3, "seed": [0, 0, 1, 1, 2, 2], "accuracy": VALUES})
    return frame.assign(**columns)


def arranged(source: Path | pd.DataFrame, tmp_path: Path, **changes: Any) -> Arranged:
    if isinstance(source, pd.DataFrame):
        source.to_csv(tmp_path / "runs.csv", index=False)
        source = tmp_path / "runs.csv"
    options = {"components": ["ema"], "value": "accuracy", "direction": "maximize"} | changes
    return arrange(read_runs(str(source)), ImportOptions(**options), str(source))


def refused(source: Path | pd.DataFrame, tmp_path: Path, **changes: Any) -> str:
    with pytest.raises(RunFolderError) as error:
        arranged(source, tmp_path, **changes)
    assert "\n" not in str(error.value)
    return str(error.value)


def values(arranged_runs: Arranged) -> dict[str, float]:
    done = arranged_runs.arms[arranged_runs.arms["status"] == "done"]
    return dict(zip(done["arm"], done["value"], strict=True))


PLAIN = dict(zip(["base-b0", "full-b0", "base-b1", "full-b1", "base-b2", "full-b2"], VALUES, strict=True))


def text_of(separator: str = ",", decimal: str = ".", end: str = "\n", blank: str = "", tail: str = "") -> str:
    lines = [HEADER.split(","), *([str(a), str(s), str(v)] for a, s, v in rows().itertuples(index=False))]
    return "".join((separator + blank).join(line).replace(".", decimal) + tail + end for line in lines)


@pytest.mark.parametrize(
    "content",
    [
        text_of(),
        text_of(";", ","),
        text_of(";"),
        text_of("\t"),
        text_of("|"),
        text_of(blank=" "),
        text_of(end="\r\n"),
        text_of(tail=","),
        text_of() + ",,\n,,\n",
        "sep=;\n" + text_of(";"),
        "# exported 2024-05-01\n\n" + text_of(),
        "# " + text_of(),
        text_of().replace("0.", "."),
        text_of().encode("utf-16"),
        text_of().encode("utf-8-sig"),
        text_of().replace("accuracy\n", "accuracy,\xb5\n").replace("6\n", "6,\xb5\n").replace("1\n", "1,\xb5\n")
        .replace("3\n", "3,\xb5\n").replace("2\n", "2,\xb5\n").replace("8\n", "8,\xb5\n").encode("latin-1"),
        gzip.compress(text_of().encode(), mtime=0),
        "".join(json.dumps(row) + "\n" for row in rows().to_dict("records")),
    ],
)  # fmt: skip
def test_table_in_many_formats(content: str | bytes, tmp_path: Path) -> None:
    is_json = isinstance(content, str) and content.startswith("{")
    file = tmp_path / ("runs.jsonl" if is_json else "runs.csv.gz" if content[:2] == b"\x1f\x8b" else "runs.csv")
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert values(arranged(file, tmp_path)) == PLAIN


@pytest.mark.parametrize(
    ("texts", "expected", "range_"),
    [
        (["80.4%", "83%", "81.7 %", "85.8%", "1%", "99.5%"], [80.4, 83, 81.7, 85.8, 1, 99.5], (0, 100)),
        (["1,100.4", "1,068", "999", "1,071.8", "12", "1,000,000"], [1100.4, 1068, 999, 1071.8, 12, 1e6], None),
        (["1.100,4", "1.068", "999", "0,5", "12", "-1,5"], [1100.4, 1068, 999, 0.5, 12, -1.5], None),
        (["\u22120.5", "1e-3", "+2", ".5", "1E2", "-4.07e-05"], [-0.5, 1e-3, 2, 0.5, 100, -4.07e-05], None),
    ],
)
def test_formats_of_results(texts: list[str], expected: list[float], range_: Any, tmp_path: Path) -> None:
    result = arranged(rows(accuracy=texts), tmp_path)
    assert list(values(result).values()) == expected
    assert result.unit.range == range_


@pytest.mark.parametrize("value_text", ["1_200", "1,234", "80%", "[0.8]", "0x10", "1.2.3", "high", "1,23,4"])
def test_results_that_could_mean_something_else_are_refused(value_text: str, tmp_path: Path) -> None:
    texts = [*map(str, VALUES)]
    texts[2] = value_text
    if value_text == "1,234":
        texts = ["1,234"] * 6
    message = refused(rows(accuracy=texts), tmp_path)
    assert f"accuracy is {value_text!r}" in message
    assert ("run 3:" if value_text != "1,234" else "run 1:") in message


def test_failed_runs_are_excluded_before_testing(tmp_path: Path) -> None:
    frame = pd.concat(
        [
            rows(status=["FINISHED"] * 6),
            pd.DataFrame({"ema": [1, 0, "", 7], "seed": [1, 2, "", 0], "accuracy": [0.1, "nan", "junk", 0.2],
                          "status": ["FAILED", "RUNNING", "KILLED", "crashed"]}),
        ],
        ignore_index=True,
    )  # fmt: skip
    result = arranged(frame, tmp_path)
    assert values(result) == PLAIN
    assert len(result.arms) == 6
    assert "since made again: it ended as failed and it ended as running" in str(result.notes)
    frame = frame.drop(index=[0]).drop_duplicates(["ema", "seed"], keep="last")
    result = arranged(frame, tmp_path)
    assert result.arms.loc[result.arms["status"] == "failed", "arm"].tolist() == ["full-b1", "base-b2"]


@pytest.mark.parametrize(
    ("column", "texts", "failed"),
    [
        ("State", ["Success", "", "Failed", "", "Queued", ""], 2),
        ("state", ["SUCCEEDED", "Completed", "TERMINATED", "ok", "Done", "TrialState.COMPLETE"], 0),
        ("status", ["exit"] * 6, 0),
        ("State", ["CA"] * 6, 0),
        ("light", ["failed", "ok"] * 3, 0),
    ],
)
def test_end_states(column: str, texts: list[str], failed: int, tmp_path: Path) -> None:
    result = arranged(rows(**{column: texts}), tmp_path)
    assert int((result.arms["status"] == "failed").sum()) == failed


def test_unknown_state_is_refused(tmp_path: Path) -> None:
    message = refused(rows(state=["finished"] * 5 + ["zombie"]), tmp_path)
    assert "unknown state zombie" in message
    assert "succeeded" in message
    assert "states of finished runs are finished" in refused(rows(state=["stopped"] * 6), tmp_path)
    state = arranged(rows(state=["failed", "ok"] * 3), tmp_path, components=["state"], reference={"state": "ok"})
    assert len(values(state)) == 6


@pytest.mark.parametrize(
    ("texts", "levels", "note"),
    [
        (["False", "True", "false", "true", "0", "1"], ("off", "on"), "False, false and 0 are read as one level"),
        (["0", "1", "0.0", "1.0", "0", "1e0"], ("off", "on"), "1, 1.0 and 1e0 are read as one level"),
        (["1.1", "1.10"] * 3, ("1.1", "1.10"), "equal as numbers and differ as text"),
        (["007", "7"] * 3, ("007", "7"), "equal as numbers and differ as text"),
        (["12e3", "12000"] * 3, ("12000", "12e3"), "equal as numbers and differ as text"),
        (["none", "Adam", "none", "adam", "none", "ADAM"], ("none", "Adam", "adam", "ADAM"), "case of letters alone"),
        (["", "none", "flip"] * 2, ("empty", "none", "flip"), ""),
        (["1e-05", "0.01"] * 3, ("1e-05", "0.01"), ""),
        (["[64, 128]", "[64, 128, 256]"] * 3, ("[64, 128]", "[64, 128, 256]"), ""),
    ],
)
def test_spellings_of_levels(texts: list[str], levels: tuple[str, ...], note: str, tmp_path: Path) -> None:
    seeds = [0, 0, 0, 1, 1, 1] if len(levels) == 3 else [0, 0, 1, 1, 2, 2]
    result = arranged(rows(ema=texts, seed=seeds), tmp_path, reference={"ema": texts[0]})
    assert result.factors[0].levels == levels
    assert note in " ".join(result.notes)


def test_seeds_are_exact(tmp_path: Path) -> None:
    seeds = [2**53, 2**53, 2**53 + 1, 2**53 + 1, 2**53 + 2, 2**53 + 2]
    assert arranged(rows(seed=seeds), tmp_path).arms["seed"].tolist() == seeds
    huge = [10**30, 10**30, 10**30 + 1, 10**30 + 1, 7, 7]
    result = arranged(rows(seed=huge), tmp_path)
    assert result.arms["block"].tolist() == [1, 1, 2, 2, 0, 0]
    assert f"1 is {10**30}" in str(result.notes)


def test_suggested_options_work_when_pasted(tmp_path: Path) -> None:
    for level in ("[64, 128]", "cos/5e-4+warm=up|x", "it's", "a,b=c", "-1 or so", "$HOME `x`"):
        frame = rows(ema=[level, "x(other), y"] * 3)
        frame["lr, peak"] = [1, 1, 2, 2, 3, 3]
        message = refused(frame, tmp_path)
        pasted = shlex.split(message.partition("Say ")[2].partition(", or another of them")[0])
        levels = split_levels(pasted[0], pasted[1:], ["ema"])
        result = arranged(frame, tmp_path, reference=levels)
        assert result.factors[0].reference == level
    assert split_names('"lr, peak",ema') == ["lr, peak", "ema"]
    assert split_levels("--full", ["a=1,b=2,3", "c=x"], ["a", "b", "c"]) == {"a": "1", "b": "2,3", "c": "x"}


def test_claims_on_quoted_names() -> None:
    factors = (Factor(name="lr (peak)", levels=("0", "0.1", "a+b=c"), reference="0", full="a+b=c"), Factor(name="λ"))
    grid = Grid(factors=factors, planned=frozenset(combinations(factors)))
    vocabulary = Vocabulary(grid=grid, cells=sorted(grid.names), outcomes={"value": "log"})
    assert parse_claim('"lr (peak)"="0.1".effect > 0', vocabulary).terms[0].names == ("lr (peak)", "0.1")
    assert parse_claim("'lr (peak)'='a+b=c'.effect > 0", vocabulary).terms[0].names == ("lr (peak)", "a+b=c")
    assert parse_claim("λ.effect > 0", vocabulary).terms[0].names == ("λ",)
    cell = parse_claim('"lr (peak)"="0.1"+λ.value < full.value', vocabulary).terms[0].names
    assert cell == ("lr (peak)=0.1+λ",)
    with pytest.raises(ValueError, match="quoted, as in"):
        parse_claim("lr (peak)/x.effect > 0", vocabulary)


def test_component_means_setting(tmp_path: Path) -> None:
    runs = [
        {"name": f"r{i}", "state": "finished", "config": {"lr": {"value": lr}, "seed": {"value": seed}},
         "summary": {"accuracy": {"max": 0.8 + lr + i / 1000}, "lr": lr / 100, "epoch": 9}}
        for i, (lr, seed) in enumerate([(0.01, 0), (0.1, 0), (0.01, 1), (0.1, 1)])
    ]  # fmt: skip
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    result = arranged(tmp_path / "runs.json", tmp_path, components=["lr"], value="accuracy.max")
    assert result.factors[0].levels == ("0.01", "0.1")
    assert not [note for note in result.notes if note.startswith("lr ")]
    assert "has no column accuracy; there are" in refused(tmp_path / "runs.json", tmp_path, components=["lr"])
    (tmp_path / "cells.csv").write_text(pd.DataFrame(runs).to_csv())
    repeated = arranged(tmp_path / "cells.csv", tmp_path, components=["lr"], value="accuracy.max")
    assert values(repeated) == values(result)
    frame = rows(**{"config/ema": ["a", "b"] * 3}).rename(columns={"seed": "config/seed"})
    result = arranged(frame, tmp_path, reference={"ema": "a"})
    assert result.factors[0].levels == ("a", "b")


def test_columns_with_equal_names(tmp_path: Path) -> None:
    frame = pd.DataFrame({"m.drop": [0, 0.1, 0, 0.1] * 2, "h.drop": [0, 0, 0.1, 0.1] * 2, "seed": [0] * 4 + [1] * 4,
                          "accuracy": np.linspace(0.8, 0.9, 8)})  # fmt: skip
    result = arranged(frame, tmp_path, components=["m.drop", "h.drop"])
    assert [factor.name for factor in result.factors] == ["m.drop", "h.drop"]
    assert "could be m.drop and h.drop" in refused(frame, tmp_path, components=["drop"])
    doubled = rows(x=np.arange(6)).rename(columns={"x": "accuracy"})
    assert "several columns accuracy with different values" in refused(doubled, tmp_path)
    assert "full is the name of a cell" in refused(rows(full=[0, 1] * 3), tmp_path, components=["full"])


def test_row_for_each_epoch_is_refused(tmp_path: Path) -> None:
    frame = pd.concat([rows(epoch=[epoch] * 6) for epoch in range(3)])
    assert "several rows belong to one run at different epoch" in refused(frame, tmp_path)
    uneven = arranged(rows(epoch=[3, 10, 7, 9, 10, 4]), tmp_path)
    assert "Runs ended at different epoch, from 3 to 10" in " ".join(uneven.notes)


def test_percent_is_recognized_or_required(tmp_path: Path) -> None:
    frame = rows(accuracy=[71.5, 76, 72, 77, 71, 75.5])
    result = arranged(frame, tmp_path)
    assert (result.unit.scale, result.unit.range) == ("identity", None)
    assert "say --range 0,100" in " ".join(result.notes)
    result = arranged(frame, tmp_path, range=(0.0, 100.0))
    assert (result.unit.scale, result.unit.range) == ("logit", (0.0, 100.0))
    named = arranged(frame.rename(columns={"accuracy": "acc [%]"}), tmp_path, value="acc [%]")
    assert named.unit.range == (0.0, 100.0)
    assert "outside --range 0,1" in refused(frame, tmp_path, range=(0.0, 1.0))
    mixed = arranged(rows(accuracy=[0.71, 76, 0.72, 77, 71, 75]), tmp_path)
    assert "on both sides of 1" in " ".join(mixed.notes)


def test_scales_that_values_cannot_have_are_refused(tmp_path: Path) -> None:
    assert "--scale logit takes values" in refused(rows(accuracy=[1.0, *VALUES[1:]]), tmp_path, scale="logit")
    assert "--scale log takes values" in refused(rows(accuracy=[-1.0, *VALUES[1:]]), tmp_path, scale="log")
    assert "scale 'cube' is unknown" in refused(rows(), tmp_path, scale="cube")


def test_mlflow_parents_and_experiments(tmp_path: Path) -> None:
    frame = rows(run_id=[f"c{i}" for i in range(6)], parent=["p"] * 6, experiment_id=[1] * 6)
    parent = pd.DataFrame([{"run_id": "p", "experiment_id": 1}])
    prefixed = {"ema": "params.ema", "seed": "params.seed", "accuracy": "metrics.accuracy"}
    frame = pd.concat([parent, frame]).rename(columns=prefixed | {"parent": "tags.mlflow.parentRunId"})
    frame[["params.ema", "params.seed"]] = frame[["params.ema", "params.seed"]].astype("Int64")
    result = arranged(frame, tmp_path)
    assert values(result) == PLAIN
    assert "1 run left out: parents" in " ".join(result.notes)
    both = pd.concat([frame, frame.assign(experiment_id=2, run_id="d" + frame["run_id"])])
    message = refused(both, tmp_path)
    assert "--experiment 1 or --experiment 2" in message
    assert values(arranged(both, tmp_path, experiment="2")) == PLAIN
    assert "has no experiment 3; say --experiment 1" in refused(both, tmp_path, experiment="3")


def test_dvc_rows_that_are_no_experiment(tmp_path: Path) -> None:
    frame = rows(Experiment=[f"exp-{i}" for i in range(6)], rev="a", typ="branch_commit", State=["Success"] + [""] * 5)
    workspace = pd.DataFrame([
        {"rev": "workspace", "typ": "baseline", "ema": 1, "seed": 0, "accuracy": 0.1},
        {"Experiment": "main", "rev": "b", "typ": "baseline", "ema": 1, "seed": 0, "accuracy": 0.1},
    ])  # fmt: skip
    assert values(arranged(pd.concat([workspace, frame]), tmp_path)) == PLAIN
