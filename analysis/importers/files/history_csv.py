"""The history of a single run as a CSV with a row for each step; many cells may be empty."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from branchwise.analysis.importers.history.points import MetricLog
from branchwise.analysis.importers.run_table import floats_of
from branchwise.analysis.records.damage import RunFolderError

STEP_NAMES = ("step", "_step", "global_step", "epoch", "iteration", "iter", "training_iteration")


def read_history(file: Path, row: int, log: MetricLog) -> bool:
    """Add the columns of a file as metrics of run `row`; return if its last line is complete.

    Raises:
        RunFolderError: The file is no CSV.
    """
    data = file.read_bytes()
    complete = data.endswith((b"\n", b"\r")) or not data
    if not complete:
        data = data[: data.rfind(b"\n") + 1]  # a number may be cut off as well
    if not data.strip():
        return complete
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(data),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=b'"' in data),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(_header(data), pa.string()), strings_can_be_null=False, null_values=[]
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise RunFolderError(
            f"{file} is no CSV with a row for each step: {' '.join(str(error).split())[:200]}"
        ) from error
    if doubled := next((name for name in table.column_names if table.column_names.count(name) > 1), None):
        raise RunFolderError(f"{file} has several columns {doubled}; rename all but one of them")
    texts = {name: table.column(i).cast(pa.string()) for i, name in enumerate(table.column_names)}
    columns = {name: values for name in texts if (values := floats_of(texts[name])) is not None}
    steps = next((columns[name] for name in STEP_NAMES if name in columns), np.arange(len(table), dtype=np.float64))
    for name, values in columns.items():
        logged = pc.not_equal(pc.utf8_trim_whitespace(texts[name]), "").to_numpy()
        log.extend(name, row, steps[logged], values[logged])
    return complete


def _header(data: bytes) -> list[str]:
    line = data[: data.find(b"\n") if b"\n" in data else len(data)].decode("utf-8-sig")
    return [name.strip().strip('"') for name in line.split(",")]
