#!/usr/bin/env python3
"""Draws a grid of samples from a model folder: every class across, or one class alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":  # not as a part of the installed package
    sys.path.insert(0, str(ROOT))  # for branchwise


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 the grid is written, 2 bad input."""
    options = parse(arguments)
    from branchwise.trainables.dash.evaluation.grids import sample_model  # torch: not before it is needed

    try:
        sample_model(
            options.model,
            options.out,
            label=options.label,
            count=options.n,
            guidance=options.guidance,
            sampler=options.sampler,
            steps=options.steps,
            seed=options.seed,
        )
    except (OSError, ValueError) as error:
        print(f"sample: {error}", file=sys.stderr)
        return 2
    print(options.out)
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    option = parser.add_argument
    option("--model", metavar="DIR", type=Path, required=True, help="the folder of a student or a teacher")
    option("--class", dest="label", metavar="K", type=int, help="only this class, from 0 (default: every class)")
    option("--n", metavar="N", type=at_least_one, default=8, help="images of each class (default: 8)")
    option("--guidance", metavar="W", type=float, default=1.0, help="guidance scale; 1 is none (default: 1)")
    option("--sampler", choices=("ddim", "dpmpp_2m", "unipc"), default="ddim")
    option("--steps", metavar="S", type=at_least_one, default=50, help="steps of the sampler (default: 50)")
    option("--seed", metavar="N", type=int, default=0)
    option("--out", metavar="FILE", type=Path, required=True, help="the PNG to write")
    return parser.parse_args(arguments)


def at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
