"""Protocol buffers in files: the fields of a message by their numbers, without its schema."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(data: bytes, start: int) -> tuple[int, int]:
    """Return an integer of variable length, and where it ends.

    Raises:
        IndexError: The data ends before it.
    """
    value = shift = 0
    while True:
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7


def signed(value: int) -> int:
    """An int32 or int64, with negative numbers in the upper half of 64 bits."""
    return value - (1 << 64) if value >> 63 else value


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The number and content of each field: an integer, or bytes for all other types.

    Raises:
        ValueError: The data are no message.
    """
    position, size = 0, len(data)
    try:
        while position < size:
            key, position = varint(data, position)
            number, kind = key >> 3, key & 7
            if kind == VARINT:
                value, position = varint(data, position)
                yield number, value
                continue
            if kind == BYTES:
                length, position = varint(data, position)
            elif kind in (FIXED64, FIXED32):
                length = 8 if kind == FIXED64 else 4
            else:
                raise ValueError(f"no protocol buffer: type {kind} at byte {position}")
            if position + length > size:
                raise ValueError("no protocol buffer: a field ends beyond the message")
            yield number, data[position : position + length]
            position += length
    except IndexError:
        raise ValueError("no protocol buffer: a number is cut off") from None


def children(data: bytes, number: int) -> Iterator[bytes]:
    """The messages or strings in the field `number`."""
    for field, value in fields(data):
        if field == number and isinstance(value, bytes):
            yield value


def child(data: bytes, number: int) -> bytes:
    """The last message or string in the field `number`, b"" if none exists."""
    value = b""
    for match in children(data, number):
        value = match
    return value


def text(data: bytes, number: int) -> str:
    """The string in the field `number`."""
    return child(data, number).decode("utf-8", errors="replace")


def number(data: bytes, field: int, default: int = 0) -> int:
    """The integer in the field `field`."""
    for match, value in fields(data):
        if match == field and isinstance(value, int):
            default = signed(value)
    return default
