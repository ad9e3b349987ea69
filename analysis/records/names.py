"""Names and texts of others: terminal controls and non-characters are escaped on entry.

What a report, a plot or a table shows afterwards is printable; each format only adds its escapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from branchwise.analysis.console import printable

ALLOWED_CONTROL = "\n\t"  # in a text, as opposed to a name


def printable_tree(value: Any) -> Any:
    """Return the content of a JSON or YAML file with each text and key printable."""
    if isinstance(value, str):
        return printable(value, ALLOWED_CONTROL)
    if isinstance(value, Mapping):
        return {printable(key) if isinstance(key, str) else key: printable_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [printable_tree(item) for item in value]
    return value


def printable_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its column names and the texts in its cells printable."""
    table = table.rename(columns=lambda name: printable(str(name)))
    for name in table.columns[table.columns.duplicated()]:
        raise ValueError(f"more than one column {name}")
    return table.assign(
        **{str(name): _printable_column(column) for name, column in table.items() if _has_unprintable(column)}
    )


def _has_unprintable(column: pd.Series) -> bool:
    """Whether a column holds a text that is not printable."""
    if not (pd.api.types.is_string_dtype(column.dtype) or column.dtype == object) or is_plain(column):
        return False
    return any(isinstance(item, str) and not item.isprintable() for item in distinct(column))


def is_plain(column: pd.Series, max_length: int | None = None) -> bool:
    """Return True only for a column of printable ASCII, of at most `max_length` characters.

    Arrow looks through a million of texts at once; a column that is not plain needs a check of each value.
    """
    if not isinstance(column.dtype, pd.StringDtype):
        return False
    texts = pa.array(column, from_pandas=True)
    if not pc.all(pc.ascii_is_printable(texts), min_count=0).as_py():
        return False
    return max_length is None or (pc.max(pc.binary_length(texts)).as_py() or 0) <= max_length


def distinct(column: pd.Series) -> Any:
    """Return the values of a column, each once where that can be determined."""
    try:
        return column.unique()
    except TypeError:  # lists
        return column


def _printable_column(column: pd.Series) -> pd.Series:
    return column.map(lambda item: printable(item, ALLOWED_CONTROL) if isinstance(item, str) else item)
