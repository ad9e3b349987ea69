"""A pattern reads the complete number in the line, in all common spellings."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
import torch

from branchwise.trainables.command.numbers import NAME, NumberPattern, parse_number

DIGITS = "loss (?P<loss>[0-9.]+)"  # what people write
VALUES = (0.5, 7.5e-05, -0.25, 1e22, -3e-300, 0.0, 12345.678, math.nan, math.inf, -math.inf, 1.0, 100.0)
SPELLINGS = (str, repr, "{:.6g}".format, "{:e}".format, "{:,}".format, "{:+}".format, "{:_}".format, "{:G}".format)


def read(pattern: str, line: str) -> object:
    groups = NumberPattern(pattern, "loss").search(line)
    return groups["loss"].value if groups else None


def same(value: object, expected: float) -> bool:
    return isinstance(value, int | float) and (value == pytest.approx(expected, rel=1e-5, nan_ok=True))


@pytest.mark.parametrize(
    "pattern", [DIGITS, f"loss (?P<loss>{NAME})", r"loss (?P<loss>\S+)", r"^.*loss.*?(?P<loss>\d+\.?\d*)"]
)
def test_numbers_as_python_and_packages_print_them(pattern: str) -> None:
    for value in VALUES:
        printed = [spell(value) for spell in SPELLINGS]
        printed += [repr(np.float64(value)), str(np.float32(value)), repr(torch.tensor(value, dtype=torch.float64))]
        printed += [repr(torch.tensor([value], dtype=torch.float64)), repr(np.array(value)), repr(Decimal(value))]
        if pattern.startswith("^") and not math.isfinite(value):
            continue  # `loss.*?` and digits: the pattern skips nan
        for text in printed:
            for line in (f"loss {text}", f"epoch 3 loss {text}, acc 0.9", f"loss {text} acc 0.9"):
                if pattern.endswith(r"\S+)") and " " in text:
                    continue  # the pattern ends at the blank
                assert same(read(pattern, line), value), (pattern, line, read(pattern, line))


@pytest.mark.parametrize(
    ("pattern", "line", "value"),
    [
        (r".*(?P<loss>[0-9.]+)%", "loss: 71.59% (9332/13036)", 71.59),
        (r".*(?P<loss>[0-9.]+)", "loss 1,234.5", 1234.5),
        (r"(?P<loss>\d+)$", "loss 7.5e-05", 7.5e-05),
        (r"loss.(?P<loss>[0-9.]+)", "loss=-0.5", -0.5),
        (r"loss ?-?(?P<loss>[0-9.]+)", "loss -0.5", -0.5),
        (r"loss-(?P<loss>[0-9.]+)", "loss-0.5", 0.5),
        (r"\d-(?P<loss>\d+)", "epoch 1-2", 2),
        (r"^\d+,(?P<loss>[0-9.]+)", "1,234.5", 234.5),
        (r"^(?P<loss>\d+),\d+", "1,234", 1),
        (DIGITS, "loss 0.5.", 0.5),
        (DIGITS, "loss  9.50", 9.5),  # printed to a width
        (f"loss (?P<loss>{NAME})", "loss   9.50 10.50", 9.5),
        (f"loss=(?P<loss>{NAME})", "loss=  -9.50", -9.5),
        (f"loss(?P<loss>{NAME})", "loss 9.50 loss8.5", 8.5),
        (DIGITS, "loss 0,5", "0,5"),
        (DIGITS, "loss 0,931", "0,931"),  # as German programs print it: no thousands
        (f"loss (?P<loss>{NAME})", "loss -0,125", "-0,125"),
        (r"loss (?P<loss>[0-9.]+).*", "loss 0,931 acc 0,5", "0,931"),
        (rf"loss (?P<loss>{NAME})\D.*", "loss 0,93 acc", "0,93"),
        (r"loss (?P<loss>[0-9.]+).*", "loss 1,234.5 acc", 1234.5),
        (r"loss (?P<loss>[0-9.]+).*", "loss 0.93, 12", 0.93),
        (DIGITS, "loss None", "None"),
        (f"loss (?P<loss>{NAME})", "loss tensor([0.4, 0.3])", None),
        (f"loss (?P<loss>{NAME})", "loss information", None),
        (f"loss (?P<loss>{NAME})", "loss \u22120.5", -0.5),
        (f"loss (?P<loss>{NAME})", "loss <tf.Tensor: numpy=0.5>", None),
        (r"loss (?P<loss>\d+\.\d+)", "loss 3", None),
        (r"loss (?P<loss>(?:\d[)]?)+\.\d+)", "loss -1e-3", -1e-3),
    ],
)
def test_numbers_are_read_completely(pattern: str, line: str, value: object) -> None:
    assert read(pattern, line) == value


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "0x10", "1e", "--1", "1,2", "0,931", "12:30", "3/10", "a1", "1 2", "nano"]
)
def test_what_is_no_number(text: str) -> None:
    assert parse_number(text) is None


def test_unit_is_preserved() -> None:
    groups = NumberPattern("acc (?P<acc>[0-9.]+)", "acc").search("acc 66.5 % of 10")
    assert groups is not None
    assert (groups["acc"].value, groups["acc"].percent) == (66.5, True)
