"""Parquet tables, with pandas' nullable types and index levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from branchwise.analysis.importers.files.exports import recognize_export
from branchwise.analysis.importers.run_table import RunTable, as_text, from_columns
from branchwise.analysis.records.folder import refuse_huge


def recognizes(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1" or path.suffix.lower() in (".parquet", ".pq")


def read(path: Path) -> RunTable:
    file = pq.ParquetFile(path, page_checksum_verification=True)
    refuse_huge(file.metadata, path)
    table = file.read()
    index = [name for name in table.column_names if name.startswith("__index_level_")]  # an index without a name
    table = table.drop_columns(index)
    columns = [_texts(table.column(i)) for i in range(table.num_columns)]
    return recognize_export(path, from_columns(table.column_names, columns))


def _texts(column: Any) -> Any:
    """A column as strings that read back exactly; null is ""."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _texts(column.cast(kind.value_type))
    if pa.types.is_boolean(kind):
        texts = pc.if_else(column, "True", "False")
    elif pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = column.cast(pa.string())
    elif pa.types.is_floating(kind):
        texts = column.cast(pa.float32() if kind == pa.float16() else kind).cast(pa.string())
    else:
        texts = pa.chunked_array([pa.array([as_text(value) for value in column.to_pylist()], pa.string())])
    return pc.fill_null(texts, "")
