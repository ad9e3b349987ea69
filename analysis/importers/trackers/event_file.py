"""TensorBoard's event files: scalars of both formats, and its plugin's hyperparameters."""

from __future__ import annotations

import struct
from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from branchwise.analysis.importers.files import protobuf
from branchwise.analysis.importers.files.framing import damaged_records, tfrecords

MARK = "tfevents"
STATES = {0: "unknown", 1: "success", 2: "failed", 3: "running"}
EXACT = 2.0**53  # above it, the plugin's doubles no longer hold each integer
_FORMATS = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 14: "bfloat16", 19: "<f2"}  # TensorProto's types of numbers
_VALUE_FIELDS = {5: "<f4", 6: "<f8"}  # its lists of values that are not packed as varints
_INT_FIELDS = (7, 10)
_FLOAT = struct.Struct("<f")
_START = 1  # SessionLog: training continues from this step, and later points are void


@dataclass
class EventLog:
    """Content of the event files of a single folder.

    Attributes:
        scalars: Steps and values by tag, in the order in which they were logged.
        settings: The hyperparameters; None if none exist.
        state: Final state of the run; "" if unknown.
        cut_off: Whether the last record of a file is incomplete.
        damaged: Whether a file cannot be read to its end, or a record is not what was written.
    """

    scalars: dict[str, tuple[array[float], array[float]]] = field(
        default_factory=lambda: defaultdict(lambda: (array("d"), array("d")))
    )
    settings: dict[str, Any] | None = None
    state: str = ""
    cut_off: bool = False
    damaged: bool = False
    _tags: dict[bytes, str] = field(default_factory=dict)  # of summaries, up to their four bytes of a value

    def read(self, file: Path) -> None:
        """Add the content of a file."""
        content = file.read_bytes()
        frames = tfrecords(content)
        self.cut_off |= frames.damage == "cut off"
        self.damaged |= frames.damage == "damaged"
        bad = damaged_records(content, frames.starts, frames.lengths)
        self.damaged |= len(bad) > 0
        skipped = set(bad.tolist())
        for i, (start, length) in enumerate(zip(frames.starts.tolist(), frames.lengths.tolist(), strict=True)):
            if i in skipped:
                continue
            record = content[start : start + length]
            try:
                if not self._read_known_scalar(record):
                    self._read_event(record)
            except (ValueError, IndexError, struct.error):
                self.damaged = True

    def _read_known_scalar(self, record: bytes) -> bool:
        """Read an event with a single scalar of a known tag: only `wall_time, step, summary`."""
        if len(record) < 16 or record[0] != 0x09:
            return False
        position, step = 9, 0
        if record[position] == 0x10:
            step, position = protobuf.varint(record, position + 1)
        if record[position] != 0x2A:
            return False
        length, position = protobuf.varint(record, position + 1)
        if position + length != len(record):
            return False
        tag = self._tags.get(record[position:-4])
        if tag is None:
            return False
        steps, values = self.scalars[tag]
        steps.append(protobuf.signed(step))
        values.append(_FLOAT.unpack_from(record, len(record) - 4)[0])
        return True

    def _read_event(self, record: bytes) -> None:
        step = protobuf.number(record, 2)
        for log in protobuf.children(record, 7):
            if protobuf.number(log, 1) == _START:
                self._discard_from(step)
        for summary in protobuf.children(record, 5):
            values = list(protobuf.children(summary, 1))
            for value in values:
                self._read_value(step, value)
            if (
                len(values) == 1
                and values[0][-5:-4] == b"\x15"
                and [n for n, _ in protobuf.fields(values[0])] == [1, 2]
            ):
                self._tags[summary[:-4]] = protobuf.text(values[0], 1)

    def _discard_from(self, step: int) -> None:
        """Drop what was logged at this step or later, as TensorBoard does."""
        for tag, (steps, values) in self.scalars.items():
            stored = [i for i, other in enumerate(steps) if other < step]
            self.scalars[tag] = (array("d", (steps[i] for i in stored)), array("d", (values[i] for i in stored)))

    def _read_value(self, step: int, value: bytes) -> None:
        tag, number = "", None
        for match, content in protobuf.fields(value):
            if not isinstance(content, bytes):
                continue
            if match == 1:
                tag = content.decode("utf-8", errors="replace")
            elif match == 2:
                number = float(_FLOAT.unpack(content)[0])
            elif match == 8:
                number = _scalar_of(content)
            elif match == 9:
                self._read_hparams(protobuf.child(content, 1))
        if number is not None:
            steps, values = self.scalars[tag]
            steps.append(step)
            values.append(number)

    def _read_hparams(self, plugin: bytes) -> None:
        if protobuf.text(plugin, 1) != "hparams":
            return
        content = protobuf.child(plugin, 2)
        for start in protobuf.children(content, 3):
            self.settings = {**(self.settings or {}), **dict(_settings(start))}
        for end in protobuf.children(content, 4):
            self.state = STATES.get(protobuf.number(end, 1), "unknown")


def _settings(start: bytes) -> Iterator[tuple[str, Any]]:
    for entry in protobuf.children(start, 1):
        yield protobuf.text(entry, 1), _plain(protobuf.child(entry, 2))


def _plain(value: bytes) -> Any:
    """A value of the plugin: None, a number, text, a boolean, or nested ones."""
    for match, content in protobuf.fields(value):
        if match == 2 and isinstance(content, bytes):
            number = struct.unpack("<d", content)[0]
            return int(number) if number.is_integer() and abs(number) < EXACT else number
        if match == 3 and isinstance(content, bytes):
            return content.decode("utf-8", errors="replace")
        if match == 4:
            return bool(content)
        if match == 5 and isinstance(content, bytes):
            return dict(_settings(content))
        if match == 6 and isinstance(content, bytes):
            return [_plain(item) for item in protobuf.children(content, 1)]
    return None


def _scalar_of(tensor: bytes) -> float | None:
    """Return a tensor of no dimension as a number; None for pictures, histograms or text."""
    kind = protobuf.number(tensor, 1)
    if kind not in _FORMATS or any(True for _ in protobuf.children(protobuf.child(tensor, 2), 2)):
        return None
    for match, content in protobuf.fields(tensor):
        if match == 4 and isinstance(content, bytes) and content:
            return _number(content, _FORMATS[kind])
        if match in _VALUE_FIELDS and isinstance(content, bytes):
            return _number(content, _VALUE_FIELDS[match])
        if match in _INT_FIELDS:
            value = protobuf.varint(content, 0)[0] if isinstance(content, bytes) else content
            return float(protobuf.signed(value))
    return None if kind in (14, 19) else 0.0  # a zero is omitted without a list of values


def _number(content: bytes, form: str) -> float | None:
    if form == "bfloat16":
        content, form = b"\x00\x00" + content, "<f4"
    values = np.frombuffer(content, dtype=form)
    return float(values[0]) if len(values) == 1 else None
