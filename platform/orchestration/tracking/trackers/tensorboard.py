"""TensorBoard's event files, written without TensorBoard.

A record is a length, an Event message, and their checksums. tensorboardX and
torch.utils.tensorboard import torch, which the driver of a sweep has no other use for.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from branchwise.orchestration.tracking.scalars import Scalar, scalars_of
from branchwise.trainables.runtime.run_folder import RunFolder


def event_file(scalars: Iterable[Scalar], when: float) -> bytes:
    """The content of an events.out.tfevents file with these scalars."""
    events = [_double(1, when) + _bytes(3, b"brain.Event:2")]
    for tag, step, value in scalars:
        summary = _bytes(1, _bytes(1, tag.encode()) + _float(2, value))
        events.append(_double(1, when) + _integer(2, step) + _bytes(5, summary))
    return b"".join(_record(event) for event in events)


def log(run: RunFolder, arm: str, record: Mapping[str, Any]) -> None:
    """An event file for each arm."""
    run.write_events(arm, event_file(scalars_of(record), time.time()))


def _record(message: bytes) -> bytes:
    length = struct.pack("<Q", len(message))
    return length + _checksum(length) + message + _checksum(message)


def _checksum(content: bytes) -> bytes:
    """CRC-32C, turned and shifted as TFRecord files have it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _table() -> Iterator[int]:
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        yield crc


_CRC32C = tuple(_table())


def _double(field: int, value: float) -> bytes:
    return _key(field, 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _key(field, 5) + struct.pack("<f", min(max(value, -_LARGEST), _LARGEST) if value == value else value)


_LARGEST = 3.4e38  # of a float32


def _integer(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _key(field, 2) + _varint(len(content)) + content


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
