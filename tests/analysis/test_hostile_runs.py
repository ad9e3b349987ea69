"""Damaged or malicious run folders: refused by name, or displayed without harm."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from branchwise.analysis.__main__ import main
from branchwise.analysis.console import make_console
from branchwise.analysis.importers.folder import run_from_table
from branchwise.analysis.importers.options import ImportOptions
from branchwise.analysis.importers.sources import read_runs
from branchwise.analysis.records.damage import RunFolderError
from branchwise.analysis.records.folder import load_run
from branchwise.analysis.records.outline import outline_of_plan
from branchwise.analysis.report.build import build_report
from branchwise.analysis.report.formats import markdown
from branchwise.analysis.report.plots.samples import sample_rows, unread
from branchwise.analysis.report.terminal import show
from branchwise.analysis.report.text import Table
from branchwise.analysis.verify import main as verify
from branchwise.run_files.layout import OutsideError, inside
from branchwise.run_files.schemas import Manifest, Plan, Schema, check
from branchwise.run_files.sealing import DamagedError, read_sealed_json, sealed_json

Run = Callable[..., Path]


@pytest.fixture
def run(root: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "ablation"
    shutil.copytree(root / "tests/data/runs/ablation", folder)
    return folder


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value in a tree; the first item of a list represents all."""
    yield path
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from places(value, (*path, key))
    elif isinstance(tree, list) and tree:
        yield from places(tree[0], (*path, 0))


def replaced(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = tree.copy()
    copy[path[0]] = replaced(tree[path[0]], path[1:], value)
    return copy


def refusal(run: Path) -> str:
    with pytest.raises(RunFolderError) as refused:
        load_run(run)
    return str(refused.value)


@pytest.mark.parametrize(("name", "schema"), [("plan.json", Plan), ("manifest.json", Manifest)])
def test_wrong_shape_is_refused_or_runs(run: Path, name: str, schema: type[Schema]) -> None:
    """Each value of the file in turn, replaced by values of other types: refused by name, or read to the end."""
    complete = json.loads((run / name).read_text())
    refused = []
    for path in places(complete):
        for value in (None, [], {}, "", "x", 3, -1.5, True, [None], {"x": 1}, "\0", "../../x", 10**400):
            wrong = replaced(complete, path, value)
            try:
                checked = check(schema, wrong, name)
            except DamagedError as error:
                refused.append(str(error))
                continue
            if name == "plan.json":
                outline = outline_of_plan(checked)
                [outline.grid.factor(component).title for component in outline.grid.components]
    assert len(refused) > 100
    assert all(message.startswith(f"{name}: ") and "\n" not in message for message in refused)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": "three"}, "blocks: input should be a valid list"),
        ({"cells": [{"cell": "full"}]}, "cells.0.kind: field required"),
        ({"components": ["anchor", "anchor"]}, "components must be the names of the factors"),
        ({"format": 3}, "format: must be 2, not 3: another version of this program wrote it"),
        ({"cohorts": {"../../x": []}}, "must name a file"),
        ({"lines": [{"table": "../../etc/x"}]}, "lines.0.table"),
        ({"teachers": [{"key": "/etc", "cells": []}]}, "teachers.0.key: must name a file"),
    ],
)
def test_plan_of_another_shape_is_refused(run: Path, capsys: Any, change: dict[str, Any], message: str) -> None:
    plan = json.loads((run / "plan.json").read_text())
    plan.pop("sha256")
    (run / "plan.json").write_bytes(sealed_json({**plan, **change}))
    assert main([str(run)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert f"{run}/plan.json: " in output.err
    assert message in output.err
    assert output.err.count("\n") == 1


def test_json_nested_too_deeply_is_damaged() -> None:
    for text in (b"[" * 200_000, b'{"a":' * 900 + b"1" + b"}" * 900, b"\xff", b"", b"1", b'"x"', b'{"sha256": 3}'):
        with pytest.raises(DamagedError, match="f is damaged"):
            read_sealed_json(text, "f")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_what_is_sealed_is_read_back(tree: Any) -> None:
    text = sealed_json({"tree": tree})
    assert json.dumps(read_sealed_json(text, "f")) == json.dumps({"tree": tree})


def test_names_do_not_lead_outside(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "students/a").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (folder / "students/link").symlink_to(tmp_path / "other")
    (folder / "students/near").symlink_to("a")
    (folder / "students/loop").symlink_to("loop")
    (tmp_path / "entry").symlink_to(folder)
    assert inside(folder, "students/a/x") == folder / "students/a/x"
    assert inside(folder, "students/near/x") == folder / "students/near/x"
    assert inside(tmp_path / "entry", "students/a") == tmp_path / "entry/students/a"
    assert inside(folder, "students/loop") == folder / "students/loop"
    for name in ("/etc/passwd", "../other", "students/../../other", "students/link", "students/link/x", "a\0b"):
        with pytest.raises(OutsideError):
            inside(folder, name)


@pytest.mark.parametrize("name", ["space.yaml", "plan.json", "manifest.json", "arms.parquet", "SHA256SUMS"])
def test_file_that_is_link_or_pipe_is_refused(run: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("password: hunter2")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(secret)
    message = refusal(run)
    assert name in message
    assert "leads outside" in message
    assert "hunter2" not in message
    (run / name).unlink()
    os.mkfifo(run / name)
    assert f"{name}: must be a regular file" in refusal(run)


def picture(path: Path, size: tuple[int, int] = (64, 32), **text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    description = PngImagePlugin.PngInfo()
    for key, value in text.items():
        description.add_text(key, value)
    Image.new("1", size).save(path, pnginfo=description)


def test_picture_outside_is_refused(run: Path, tmp_path: Path, capsys: Any) -> None:
    picture(tmp_path / "private/samples.png")
    (run / "students").mkdir()
    (run / "students/full-b0").symlink_to(tmp_path / "private")
    assert main([str(run)]) == 2
    output = capsys.readouterr().err
    assert "students/full-b0: a link that leads outside its folder" in output
    (run / "students/full-b0").unlink()
    picture(run / "students/full-b0/samples.png")
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest["sha256"]
    for key in (str(tmp_path / "private"), "../private", ".hidden", ""):
        (run / "manifest.json").write_text(json.dumps(manifest | {"teachers": [{"key": key}]}))
        assert main([str(run)]) == 2
        assert "teachers.0.key: must name a file" in capsys.readouterr().err


def test_pictures_that_cannot_be_drawn_are_named(run: Path) -> None:
    cells = ("full", "base", "anchor", "uncond_branch")
    files = [run / f"students/{cell}-b0/samples.png" for cell in cells]
    picture(files[0], (9000, 9000))
    picture(files[1], (2, 3000))
    files[2].parent.mkdir(parents=True)
    os.mkfifo(files[2])
    files[3].parent.mkdir(parents=True)
    files[3].write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    loaded = load_run(run)
    assert sample_rows(loaded) is None
    message = "\n".join(sorted(unread(loaded)))
    assert "full-b0/samples.png is left out: 9000 x 9000 pixels" in message
    assert "base-b0/samples.png is left out: a tile of 2 x 3000 pixels" in message
    assert "anchor-b0/samples.png is left out: it is not a regular file" in message
    assert "uncond_branch-b0/samples.png is left out: it cannot be read as PNG" in message
    for tile in ("0x0", "0x8", "-1x4", "9x", "1e9x1", "99999999x8", "200x200", "²x²"):
        picture(files[0], Tile=tile)
        assert unread(loaded)
        assert sample_rows(loaded) is not None


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("arm", [[1], [2]], "column arm: must hold texts"),
        ("cell", ["a" * 5000, "b"], "column cell: 5,000 characters"),
        ("comparability_key", ["{", "{}"], "column comparability_key: must hold JSON objects"),
        ("comparability_key", ["[1]", "{}"], "column comparability_key: must hold JSON objects"),
    ],
)
def test_tables_of_another_shape_are_refused(run: Path, column: str, values: list[Any], message: str) -> None:
    arms = pd.read_parquet(run / "arms.parquet").head(2)
    arms.assign(**{column: values}).to_parquet(run / "arms.parquet")
    (run / "SHA256SUMS").unlink(missing_ok=True)
    assert message in refusal(run)


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"index_columns": ["nowhere"], "columns": 3}', b"\xff\0"])
def test_hostile_parquet_metadata_is_harmless(run: Path, metadata: bytes) -> None:
    table = pq.read_table(run / "arms.parquet")
    pq.write_table(table.replace_schema_metadata({b"pandas": metadata}), run / "arms.parquet")
    (run / "SHA256SUMS").unlink(missing_ok=True)
    with suppress(RunFolderError):
        assert len(load_run(run).arms) == 30


def test_compressed_bomb_is_refused(run: Path) -> None:
    rows = pa.table({"arm": pa.DictionaryArray.from_arrays(pa.array([0] * 400_000, pa.int8()), ["a"])})
    schema = rows.schema
    with pq.ParquetWriter(run / "arms.parquet", schema) as writer:
        for _ in range(3):
            writer.write_table(rows)
    (run / "SHA256SUMS").unlink(missing_ok=True)
    from branchwise.analysis.records import folder

    before, folder.MAX_VALUES = folder.MAX_VALUES, 1_000_000
    try:
        assert "holds 1,200,000 rows of 1 columns" in refusal(run)
        with pytest.raises(RunFolderError, match="holds 1,200,000 rows of 1 columns"):
            read_runs(str(run / "arms.parquet"))
    finally:
        folder.MAX_VALUES = before


HOSTILE = (
    "=HYPERLINK(1)", "<img src=x onerror=alert(1)>", "$\\frac{$", "a\x1b[31m\x07\u202e", "[x](javascript:1)|`",
    "\ud83d\ude00"[:0] + "😀表\x00", "{{7*7}}\\input{x}",
)  # fmt: skip


def test_hostile_names_do_no_harm(tmp_path: Path, capsys: Any, recwarn: Any) -> None:
    rows = []
    for seed in range(3):
        for mask in range(4):
            on = [bool(mask >> i & 1) for i in range(2)]
            value = 1.0 + sum(on) + 0.1 * seed + 0.01 * mask * seed
            rows.append({HOSTILE[0]: on[0], HOSTILE[1]: HOSTILE[4] if on[1] else HOSTILE[6], "seed": seed,
                         HOSTILE[3]: value, HOSTILE[5]: HOSTILE[2]})  # fmt: skip
    requested = ImportOptions(components=HOSTILE[:2], block="seed", value=HOSTILE[3], direction="maximize",
                  reference={HOSTILE[1]: HOSTILE[6]})  # fmt: skip
    summary = build_report([run_from_table(pd.DataFrame(rows), requested, tmp_path / "out\x1b]0;x\x07")])
    show(summary, make_console())
    output = capsys.readouterr()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", output.out + output.err)
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    report = next(tmp_path.glob("out*")) / "report"
    for file in report.iterdir():
        if file.suffix == ".png":
            continue
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", text), file
        if file.suffix == ".svg":
            ElementTree.fromstring(text)
        if file.suffix in (".html", ".svg", ".md"):
            assert "<img src=x" not in text, file
    with (report / "ablation.csv").open() as table:
        first = [row["component"] for row in csv.DictReader(table)]
    assert first[0] == f"'{HOSTILE[0]}"
    assert "](javascript" not in (report / "ablation.md").read_text()
    for file in report.glob("*.tex"):
        assert "\\input{x}" not in file.read_text()


def test_markdown_keeps_numbers_as_they_are() -> None:
    table = Table(title="T", columns=("a", "b"), rows=(("x<y", "1.2 [0.9, 1.5]"),), note="a\n# b")
    assert markdown(table) == "## T\n\n| a | b |\n| --- | ---: |\n| x&lt;y | 1.2 [0.9, 1.5] |\n\na # b\n"


@pytest.mark.parametrize("out", ["/proc/branchwise/report", "file/below", "a" * 300], ids=["proc", "file", "long"])
def test_out_that_cannot_be_written_is_named(run: Path, tmp_path: Path, capsys: Any, out: str) -> None:
    (tmp_path / "file").touch()
    target = str(tmp_path / out)
    assert main([str(run), "--out", target]) == 2
    output = capsys.readouterr().err
    assert "--out" in output
    assert "Traceback" not in output
    (tmp_path / "runs.csv").write_text(
        "a,seed,v\n" + "".join(f"{a},{s},{a + s}.5\n" for a in (0, 1) for s in (0, 1, 2))
    )
    requested = ["--components", "a", "--value", "v", "--direction", "minimize", "--out", target]
    assert main([str(tmp_path / "runs.csv"), *requested]) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("length", [300, 5000, 100_000], ids=str)
def test_long_names_are_bounded(tmp_path: Path, capsys: Any, length: int) -> None:
    long = "n" * length
    for arguments in ([long], [str(tmp_path / long), "--out", long], [long, "--components", long, "--value", long]):
        assert main(arguments) == 2
        assert len(capsys.readouterr().err) < 1000
    assert verify([long]) == 2
    (tmp_path / "runs.csv").write_text(f"{long},seed,v\n0,0,1\n1,0,2\n0,1,1\n1,1,3\n")
    requested = ["--components", long, "--value", "v", "--direction", "minimize", "--out", str(tmp_path / "out")]
    assert main([str(tmp_path / "runs.csv"), *requested]) == 2
    output = capsys.readouterr().err
    assert "at most 200 characters" in output
    assert len(output) < 1000
    assert not (tmp_path / "out").exists()


def test_verify_suggests_run(run: Path, capsys: Any) -> None:
    (run / "arms").mkdir()
    (run / "arms/full-b0.json").write_bytes(sealed_json({"arm": "full-b0"}).replace(b"full", b"fall"))
    assert verify([str(run)]) == 1
    assert f"`branchwise resume {run.name}` makes it again" in capsys.readouterr().out


def test_report_symlink_is_replaced(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/ablation.json").write_text("{}")
    (run / "report").symlink_to(tmp_path / "elsewhere")
    assert main([str(run)]) == 0
    assert not (run / "report").is_symlink()
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["ablation.json"]
    assert not [path for path in run.iterdir() if path.name.startswith(".")]
