"""Files of records with lengths and checksums: TFRecord and LevelDB's log.

A cut-off record costs a single record.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

_LENGTH = struct.Struct("<Q")
_BLOCK = 32_768
_BLOCK_HEADER = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_AT_ONCE = 1 << 16  # records per batch of checksums
MAX_CHECKED = 512  # bytes of the records that hold numbers; larger ones hold histograms and pictures


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Records of a TFRecord file: starts, lengths, and the damage to the rest of the file."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    damage: str = ""  # "", "cut off" within the last record, or "damaged" before it


def tfrecords(data: bytes) -> Frames:
    """Find the records by their lengths, each of which has a checksum."""
    position, size, starts = 0, len(data), []
    while position + 12 <= size:
        (length,) = _LENGTH.unpack_from(data, position)
        if position + 16 + length > size:
            break
        starts.append(position)
        position += 16 + length
    begins = np.array(starts, dtype=np.int64)
    lengths = np.diff(np.append(begins, position)) - 16
    heads = begins if position + 12 > size else np.append(begins, position)
    right = _checksums(data, heads, 8) == _stored(data, heads + 8)
    if not right.all():
        first = int(np.flatnonzero(~right)[0])
        is_blank = not bytes(data[int(heads[first]) :]).strip(b"\x00")  # space that was never written to
        damage = "cut off" if is_blank else "damaged"
        return Frames(starts=begins[:first] + 12, lengths=lengths[:first], damage=damage)
    return Frames(starts=begins + 12, lengths=lengths, damage="cut off" if position < size else "")


def damaged_records(data: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The positions, in `starts`, of the records with a wrong checksum."""
    bad = []
    for length in np.unique(lengths[lengths <= MAX_CHECKED]):
        places = np.flatnonzero(lengths == length)
        for part in np.array_split(places, len(places) // _AT_ONCE + 1):
            wrong = _checksums(data, starts[part], int(length)) != _stored(data, starts[part] + length)
            bad.append(part[wrong])
    return np.sort(np.concatenate(bad)) if bad else np.zeros(0, dtype=np.int64)


@cache
def _table() -> NDArray[np.uint32]:
    """The table of CRC-32C (Castagnoli), which TFRecord uses and zlib has not."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1).astype(np.uint32)
    return table


def _checksums(data: bytes, starts: NDArray[np.int64], length: int) -> NDArray[np.uint32]:
    """The masked CRC-32C of `length` bytes from each start."""
    table, all_bytes = _table(), np.frombuffer(data, dtype=np.uint8)
    crc = np.full(len(starts), 0xFFFFFFFF, dtype=np.uint32)
    for i in range(length):
        crc = table[(crc ^ all_bytes[starts + i]) & 0xFF] ^ (crc >> np.uint32(8))
    crc = crc ^ np.uint32(0xFFFFFFFF)
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


def _stored(data: bytes, starts: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The four bytes from each start as a number."""
    all_bytes = np.frombuffer(data, dtype=np.uint8)
    value = np.zeros(len(starts), dtype=np.uint32)
    for i in range(4):
        value |= all_bytes[starts + i].astype(np.uint32) << np.uint32(8 * i)
    return value


def log_records(data: bytes, start: int) -> Iterator[bytes | None]:
    """Yield a LevelDB log's records (zlib checksums) from `start`; None if cut off or damaged."""
    position, size, record = start, len(data), b""
    while position < size:
        remaining = _BLOCK - position % _BLOCK
        if remaining < _BLOCK_HEADER.size:
            position += remaining
            continue
        if position + _BLOCK_HEADER.size > size:
            yield None
            return
        checksum, length, kind = _BLOCK_HEADER.unpack_from(data, position)
        begin = position + _BLOCK_HEADER.size
        part = bytes(data[begin : begin + length])
        if len(part) < length or not _FULL <= kind <= _LAST or zlib.crc32(part, zlib.crc32(bytes([kind]))) != checksum:
            yield None
            return
        record = part if kind in (_FULL, _FIRST) else record + part
        position = begin + length
        if kind in (_FULL, _LAST):
            yield record
            record = b""
    if record:
        yield None
