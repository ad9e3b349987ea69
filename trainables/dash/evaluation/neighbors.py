"""Pairwise measures: precision, recall, density, coverage, and CMMD.

They compare each sample with each reference.

All are computed tile by tile on the device, so that memory does not grow with either set; of more than `MAX_REFERENCES`
references a part, drawn once, represents all.

Distances are taken in float64, of rows centered on the references, because features may have a large common offset. Two
of them that differ in square by less than `TIE` of the squared norms of their rows are equal: a sample on the edge of
a ball is within it for precision and recall, and not for density and coverage.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from branchwise.trainables.dash.compute.memory import parts
from branchwise.trainables.dash.compute.seeding import generator

MAX_REFERENCES = 50_000  # references
TILE = 2048  # rows and columns of distances at once
TIE = 1e-12  # rounding of a squared distance is near 1e-13; distinct float32 features differ by more
NEAREST = (3, 5)  # neighbors of precision and recall (Kynkäänniemi 2019), of density and coverage (Naeem 2020)
SIGMA = 10.0  # of CMMD's kernel, and its scale (Jayasumana et al. 2024)
SCALE = 1000.0


def chosen(size: int) -> slice | Tensor:
    """Return the indices of the references compared with.

    They are all of `size`, or `MAX_REFERENCES` drawn without replacement, sorted.
    """
    if size <= MAX_REFERENCES:
        return slice(None)
    return torch.randperm(size, generator=generator(0, "references"))[:MAX_REFERENCES].sort().values


@torch.inference_mode()
def radii(rows: Tensor, device: torch.device | str) -> Tensor:
    """Return each row's distances to its third and fifth neighbor among the rows (n, d).

    (n, 2) float64, on the device.
    """
    count = min(NEAREST[-1] + 1, len(rows))  # the nearest is the row
    centre = _centre(rows, device)
    distances = []
    for part in parts(rows, TILE):
        block = part.to(device).double() - centre
        nearest = torch.full((len(block), 0), math.inf, device=device, dtype=torch.float64)
        for other in parts(rows, TILE):
            squares, slack = _squares(block, other.to(device).double() - centre)
            tile = torch.cat([nearest, torch.where(squares <= slack, 0, squares)], dim=1)
            nearest = tile.topk(min(count, tile.shape[1]), largest=False).values
        distances.append(nearest[:, [min(k, count - 1) for k in NEAREST]])
    return torch.cat(distances).sqrt()


def _centre(rows: Tensor, device: torch.device | str) -> Tensor:
    """The mean of the rows (d,), float64."""
    return torch.stack([part.to(device).double().sum(dim=0) for part in parts(rows, TILE)]).sum(dim=0) / len(rows)


def _squares(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return squared distances (n, m) of centered rows, and the smallest distinct difference."""
    norms = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)
    return norms - 2 * a @ b.T, TIE * norms


@torch.inference_mode()
def compare(samples: Tensor, reference: Tensor, reference_radii: Tensor) -> dict[str, float]:
    """Return precision, recall, density and coverage of samples (n, d).

    The reference is (m, d) with its `radii`.

    Precision and recall (Kynkäänniemi et al. 2019): the share of samples within some reference's ball, and of
    references within some sample's. Density and coverage (Naeem et al. 2020): the number of references' balls that
    hold a sample over its expectation, and the share of references with a sample in their ball.
    """
    device = reference_radii.device
    sample_squares = radii(samples, device)[:, 0].square()
    centre = _centre(reference, device)
    hits = torch.zeros(len(samples), dtype=torch.bool, device=device)
    inside = torch.zeros(len(samples), dtype=torch.int64, device=device)
    recalled, covered = [], []
    for start in range(0, len(reference), TILE):
        wide, near = reference_radii[start : start + TILE].double().square().T
        other = reference[start : start + TILE].to(device).double() - centre
        reached = torch.zeros(len(other), dtype=torch.bool, device=device)
        is_covered = torch.zeros(len(other), dtype=torch.bool, device=device)
        for begin in range(0, len(samples), TILE):
            tile = slice(begin, begin + TILE)
            squares, slack = _squares(samples[tile].to(device).double() - centre, other)
            hits[tile] |= (squares <= wide + slack).any(dim=1)
            reached |= (squares <= sample_squares[tile, None] + slack).any(dim=0)
            within = squares < near - slack
            inside[tile] += within.sum(dim=1)
            is_covered |= within.any(dim=0)
        recalled.append(reached)
        covered.append(is_covered)
    return {
        "precision": float(hits.double().mean()),
        "recall": float(torch.cat(recalled).double().mean()),
        "density": float(inside.double().mean()) / NEAREST[1],
        "coverage": float(torch.cat(covered).double().mean()),
    }


@torch.inference_mode()
def cmmd(samples: Tensor, reference: Tensor, device: torch.device | str) -> float:
    """Return the CMMD (Jayasumana et al. 2024, arXiv 2401.09603).

    It is 1000 times the squared maximum mean discrepancy of unit vectors under a Gaussian kernel of
    sigma 10, diagonals included.
    """
    first = torch.nn.functional.normalize(samples.double(), dim=1)
    two = torch.nn.functional.normalize(reference.double(), dim=1)
    within_groups = _mean_kernel(first, first, device) + _mean_kernel(two, two, device)
    return SCALE * (within_groups - 2 * _mean_kernel(first, two, device))


def _mean_kernel(a: Tensor, b: Tensor, device: torch.device | str) -> float:
    """The mean of exp(-|x - y|^2 / (2 sigma^2)) over all pairs of unit vectors."""
    total = 0.0
    for block in parts(a, TILE):
        block = block.to(device)
        for other in parts(b, TILE):
            squares = 2 - 2 * block @ other.to(device).T
            total += float(torch.exp(squares / (-2 * SIGMA**2)).sum())
    return total / (len(a) * len(b))
