"""TensorBoard's event files, written without TensorBoard: a record is a length, an Event message, and their checksums.

tensorboardX and torch.utils.tensorboard import torch, which the driver of a sweep has no other use for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Scalar = tuple[str, int, float]  # tag, step, value


def event_file(scalars: Iterable[Scalar], when: float) -> bytes:
    """The content of an events.out.tfevents file with these scalars."""
    events = [_double(1, when) + _bytes(3, b"brain.Event:2")]
    for tag, step, value in scalars:
        summary = _bytes(1, _bytes(1, tag.encode()) + _float(2, value))
        events.append(_double(1, when) + _integer(2, step) + _bytes(5, summary))
    return b"".join(_record(event) for event in events)


def scalars_of(record: Mapping[str, Any]) -> Iterator[Scalar]:
    """The curves of an arm's record, and its values at the last step."""
    for row in record.get("tables", {}).get("curves", ()):
        for name, value in row.items():
            if name != "step" and _is_number(value):
                yield f"curves/{name}", int(row["step"]), value
    values = record.get("values", {})
    for name, value in values.items():
        if name != "steps" and _is_number(value):
            yield f"values/{name}", int(values.get("steps") or 0), value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
