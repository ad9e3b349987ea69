"""Text tables: CSV with commas, semicolons, tabs or bars, of spreadsheets, pandas, trackers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from branchwise.analysis.importers.files.content import first_bytes, read_content
from branchwise.analysis.importers.files.exports import recognize_export
from branchwise.analysis.importers.run_table import RunTable, from_columns
from branchwise.analysis.records.damage import RunFolderError

SUFFIXES = (".csv", ".tsv", ".txt", ".tab")
COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
_DELIMITERS = ",;\t|"
_SAMPLE = 1 << 18
_BLOCK = 16 << 20


def recognizes(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in SUFFIXES and b"\x00" not in first_bytes(path)


def read(path: Path) -> RunTable:
    content = read_content(path)
    start, delimiter = _preamble(content.data)
    data = memoryview(content.data)[start:] if start else memoryview(content.data)
    sample = bytes(data[:_SAMPLE]).decode("utf-8", errors="replace")
    if not sample.strip():
        raise RunFolderError(f"{path} is empty")
    delimiter = delimiter or _delimiter(sample)
    header = next(_rows(io.StringIO(sample, newline=""), delimiter))
    spaced = re.search(rf"{re.escape(delimiter)} +\"", sample) is not None
    columns = None if spaced else _read_by_arrow(data, delimiter, len(header), quoted=b'"' in content.data)
    if columns is None:
        columns = _read_by_python(path, bytes(data).decode("utf-8"), delimiter)
    names = _names(header, columns)
    saved = [i for i, name in enumerate(names) if name is not None]
    columns = _without_empty_rows([columns[i] for i in saved])
    table = from_columns([str(names[i]) for i in saved], columns, decimal_comma=delimiter == ";", notes=content.notes)
    return recognize_export(path, table)


def _preamble(data: bytes) -> tuple[int, str]:
    """Offset of the header, after comments and blank lines; and the separator of Excel's `sep=`."""
    start, delimiter = 3 if data.startswith(b"\xef\xbb\xbf") else 0, ""
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        line = data[start:end].strip()
        if match := re.fullmatch(rb"\"?sep=(.|\\t)\"?", line, re.IGNORECASE):
            delimiter = match[1].decode().replace("\\t", "\t")
        elif line.startswith(b"#") and _is_header(line, data[end + 1 : end + 4096]):
            return start + data[start:end].index(b"#") + 1, delimiter
        elif line and not line.startswith(b"#"):
            break
        start = end + 1
    return start, delimiter


def _is_header(comment: bytes, following: bytes) -> bool:
    """Whether a # line names the columns, as numpy.savetxt writes it: numbers follow at once."""
    line = following.partition(b"\n")[0].decode("utf-8", errors="replace").strip()
    return any(
        comment.decode("utf-8", errors="replace").count(sign) == line.count(sign) > 0
        and all(re.fullmatch(r"[-+.\deE]+", cell.strip()) for cell in line.split(sign))
        for sign in _DELIMITERS
    )


def _delimiter(sample: str) -> str:
    """Separator that splits the first lines into equally many fields, the more the better."""
    best, widest = ",", 1
    for delimiter in _DELIMITERS:
        rows = list(islice(_rows(io.StringIO(sample, newline=""), delimiter), 21))
        rows = rows[:-1] if len(rows) > 2 and len(sample) >= _SAMPLE else rows  # the last may be cut off
        width = len(rows[0])
        matching_rows = sum(len(row) == width or (len(row) == width + 1 and not row[-1].strip()) for row in rows)
        if width > widest and 2 * matching_rows > len(rows):
            best, widest = delimiter, width
    return best


def _rows(file: io.StringIO, delimiter: str) -> Iterator[list[str]]:
    """Yield the rows that are not blank.

    Meanwhile, csv's limit on the length of a field, which is global, is raised.
    """
    limit = csv.field_size_limit(1 << 30)
    try:
        for row in csv.reader(file, delimiter=delimiter, skipinitialspace=True):
            if row and any(map(str.strip, row)):
                yield row
    finally:
        csv.field_size_limit(limit)


def _read_by_arrow(data: memoryview, delimiter: str, width: int, quoted: bool) -> list[Any] | None:
    """Read the columns by Arrow; None where it cannot read the file or reads it differently."""
    names = [f"f{i}" for i in range(width)]
    for block in (_BLOCK, len(data) + 1):
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(pa.py_buffer(data)),
                read_options=arrow_csv.ReadOptions(autogenerate_column_names=True, block_size=min(block, 2**31 - 1)),
                parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=quoted),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, null_values=[]
                ),
            )
        except pa.ArrowInvalid as error:
            if "straddling" in str(error) and block == _BLOCK < len(data):
                continue  # a row longer than a block
            return None
        return [column.slice(1) for column in table.columns] if table.num_columns == width else None
    return None


def _read_by_python(path: Path, text: str, delimiter: str) -> list[Any]:
    """The columns by Python's reader, which states which row is odd."""
    rows = _rows(io.StringIO(text, newline=""), delimiter)
    header = next(rows)
    width, columns = len(header), [list[str]() for _ in header]
    while width and not header[width - 1].strip():
        width -= 1
    for number, row in enumerate(rows, start=1):
        if len(row) < width or any(cell.strip() for cell in row[len(header) :]):
            raise RunFolderError(f"{path}, run {number}: it has {len(row)} fields, and the header names {width}")
        for column, cell in zip(columns, [*row, *[""] * len(header)], strict=False):
            column.append(cell)
    return [pa.chunked_array([pa.array(column, pa.string())]) for column in columns]


def _names(header: list[str], columns: list[Any]) -> list[str | None]:
    """The names of the columns; None for unnamed columns of row numbers."""
    names: list[str | None] = []
    for i, name in enumerate(header):
        name = name.strip().strip("\ufeff")
        if name and not (i == 0 and name == "Unnamed: 0"):
            names.append(name)
        else:
            cells = set(columns[i].slice(0, 1000).to_pylist())
            row_numbers = {str(n) for n in range(min(1000, len(columns[i])) + 1)}
            names.append(None if cells <= {"", *row_numbers} else f"column {i + 1}")
    return names


def _without_empty_rows(columns: list[Any]) -> list[Any]:
    """Drop rows that are empty in each column, as spreadsheets leave them at the end."""
    if not columns or not len(columns[0]):
        return columns
    empty = np.ones(len(columns[0]), dtype=bool)
    for column in columns:
        empty &= pc.equal(column, "").to_numpy()
        if not empty.any():
            return columns
    return [column.filter(pa.array(~empty)) for column in columns]
