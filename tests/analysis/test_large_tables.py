"""Tables of many runs are read and analyzed column by column, from all writers, with the numbers of pandas."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import FrameType

import numpy as np
import pandas as pd
import pytest

from branchwise.analysis.importers.files import json_file
from branchwise.analysis.importers.folder import run_from_table
from branchwise.analysis.importers.options import ImportOptions
from branchwise.analysis.importers.run_table import Categorical, RunTable
from branchwise.analysis.importers.text.spelling import read_spelling
from branchwise.analysis.records.names import is_plain
from branchwise.analysis.report.build import numbers_of

OPTIONS = ImportOptions(components=["a", "b"], block="seed", value="accuracy", direction="maximize")


def runs_of(seeds: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    a, b = np.tile([0, 0, 1, 1], seeds), np.tile([0, 1, 0, 1], seeds)
    accuracy = 0.5 + 0.05 * a + 0.02 * b + rng.normal(0, 0.05, seeds).repeat(4) + rng.normal(0, 0.02, 4 * seeds)
    frame = {"a": a == 1, "b": b == 1, "seed": np.arange(seeds).repeat(4) * 7919, "accuracy": accuracy}
    others = {"lr": 1e-3, "state": "finished", "loss": rng.normal(size=4 * seeds), "name": np.arange(4 * seeds)}
    return pd.DataFrame(frame | others)


def analyzed(frame: pd.DataFrame, folder: Path) -> tuple[dict[str, float], int]:
    """The mean of each cell, and how often Python called a function."""
    folder.mkdir()
    frame.to_csv(folder / "runs.csv", index=False)
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        text = numbers_of(run_from_table(folder / "runs.csv", OPTIONS, folder / "run"))
    finally:
        sys.setprofile(before)
    return {row["cell"]: row["mean"] for row in json.loads(text)["cells"]}, calls


def test_no_function_is_called_for_each_column_of_run(tmp_path: Path) -> None:
    small, large = runs_of(250), runs_of(1250)
    analyzed(runs_of(2), tmp_path / "first")  # what is imported and compiled once
    _, few = analyzed(small, tmp_path / "small")
    means, many = analyzed(large, tmp_path / "large")
    expected = large.groupby(["a", "b"])["accuracy"].mean().tolist()
    assert [means[cell] for cell in ("base", "b", "a", "full")] == pytest.approx(expected, abs=1e-13)
    assert (many - few) / (len(large) - len(small)) < 25


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_formats_agree_on_all_numbers(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_file, "BATCH", 7)
    frame = runs_of(30)
    frame.loc[5, "accuracy"] = np.nan
    frame.loc[5, "state"] = "crashed"
    frame.to_csv(tmp_path / "runs.csv", index=False)
    frame.to_parquet(tmp_path / "runs.parquet", index=False)
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    lines = [json.dumps({key: item for key, item in record.items() if item is not None}) for record in records]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    result = json.loads(numbers_of(run_from_table(tmp_path / f"runs.{form}", OPTIONS, tmp_path / form)))
    values = {row["arm"]: row["value"] for row in result["arms"]}
    assert len(values) == 120
    assert values["b-b1"] is None
    names = {(False, False): "base", (False, True): "b", (True, False): "a", (True, True): "full"}
    for row in frame.dropna().to_dict("records"):
        arm = f"{names[row['a'], row['b']]}-b{row['seed'] // 7919}"
        assert values[arm] == pytest.approx(row["accuracy"], rel=1e-15)


def test_line_separator_in_text_ends_no_line(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text('{"note": "a\u2028b"}\n\n{"note": null, "config.lr": 1}\n', encoding="utf-8")
    table: RunTable = json_file.read(file)
    assert table.table.to_pydict() == {"note": ["a\u2028b", ""], "config.lr": ["", "1"]}
    assert table.kinds == {"config.lr": "setting"}


def test_equal_numbers_are_detected() -> None:
    texts = [str(number) for number in range(3000)]
    assert read_spelling("seed", texts).categories == tuple(texts)
    assert not read_spelling("seed", texts).notes
    assert "1, 1.0 and 1e0 are read as one level" in " ".join(read_spelling("seed", [*texts, "1.0", "1e0"]).notes)
    spelling = read_spelling("seed", [*texts, "007"])
    assert spelling.categories[-1] == "007"
    assert "7 and 007 are equal as numbers" in " ".join(spelling.notes)
    huge = read_spelling("seed", ["1" + "0" * 400, "2" + "0" * 400, "1.10"])
    assert not huge.notes
    assert Categorical(codes=np.arange(3), categories=("a", "b", "a")).rename(["a", "b", "a"]).categories == ("a", "b")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [(["a", None, ""], True), ([], True), (["a\n"], False), (["é"], False), (["\x7f"], False), (["a" * 11], False)],
)
def test_plain_texts_differ_from_odd_texts(texts: list[str | None], expected: bool) -> None:
    assert is_plain(pd.Series(texts, dtype="str"), 10) is expected
    assert not is_plain(pd.Series(texts, dtype=object), 10)
