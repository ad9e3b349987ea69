"""Writes `neptune/` beside this file with the writer of Neptune's exporter, which is in no package index.

`git clone https://github.com/neptune-ai/neptune-exporter` at commit 8d3f44a, `pip install pyarrow`, and then
`PYTHONPATH=neptune-exporter/src python write_neptune.py`.

The exporter itself cannot be run to its end: it reads from Neptune's service (`init_project(mode="read-only")`,
`neptune_query`), which is closed, and takes nothing from disk. The client (`neptune` 1.14.0.post2, `mode="offline"`)
leaves a queue of operations for `neptune sync`, not runs. So the values are made here, and all else of the files is the
exporter's: its schema, parts and names.
"""

import shutil
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from neptune_exporter.model import SCHEMA
from neptune_exporter.storage.parquet_writer import ParquetWriter

FOLDER, PROJECT = Path(__file__).parent / "neptune", "team/ablation"
START = datetime(2026, 1, 1, tzinfo=UTC)


def rows(run: str, name: str, kind: str, *values: Any) -> list[dict[str, Any]]:
    """The rows of an attribute: one, or one for each step."""
    column = f"{kind.removesuffix('_series')}_value"
    common = {"project_id": PROJECT, "run_id": run, "attribute_path": name, "attribute_type": kind}
    if not kind.endswith("_series"):
        return [{**common, column: values[0]}]
    points = enumerate(values)
    return [{**common, column: v, "step": Decimal(i), "timestamp": START + timedelta(seconds=i)} for i, v in points]


shutil.rmtree(FOLDER, ignore_errors=True)
writer = ParquetWriter(FOLDER, target_part_size_bytes=1)
for seed in range(3):
    for ema in (False, True):
        run = f"RUN-{2 * seed + ema}"
        losses = [2 - 0.3 * ema + 0.05 * seed + 0.5 / (step + 1) for step in range(4)]
        parameters = [
            *rows(run, "sys/name", "string", "ablation"),
            *rows(run, "sys/failed", "bool", run == "RUN-5"),
            *rows(run, "sys/creation_time", "datetime", START),
            *rows(run, "sys/tags", "string_set", ["a", "b"]),
            *rows(run, "parameters/ema", "bool", ema),
            *rows(run, "parameters/seed", "int", 2**60 + seed),
            *rows(run, "parameters/opt/lr", "float", 1e-5),
            *rows(run, "parameters/version", "string", "1.10"),
            *rows(run, "parameters/warmup", "int", None),
        ]
        series = [
            *rows(run, "train/loss", "float_series", *losses[:3], None if run == "RUN-4" else losses[3]),
            *rows(run, "log", "string_series", "a line"),
        ]
        test = (
            rows(run, "test/acc", "float", losses[3] / 9)
            if ema
            else rows(run, "test/acc", "float_series", losses[3] / 9)
        )
        with writer.run_writer(PROJECT, run) as part:
            for batch in (parameters, series, test):
                part.save(pa.RecordBatch.from_pylist(batch, schema=SCHEMA))
