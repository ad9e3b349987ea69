"""A family of hypotheses with a graph: shares of the 5%, inherited after a rejection.

Bretz, Maurer, Brannath & Posch (2009): the sequentially rejective procedure, which keeps the family-wise error for any
weights that sum to one and any graph whose rows sum to at most one. Equal weights and equal edges are Holm's procedure.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from math import isnan, nan
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Edges = dict[Key, dict[Key, float]]


def adjusted(p_values: Mapping[Key, float], weights: Mapping[Key, float], edges: Edges[Key]) -> dict[Key, float]:
    """Return adjusted p-values: a hypothesis is rejected at alpha if its own is at most alpha.

    A hypothesis without a p-value (NaN) stays NaN and keeps its share.

    Args:
        p_values: The p-value of each hypothesis.
        weights: Shares of alpha at the start, 0 where absent.
        edges: `edges[a][b]` is the part of a's share that goes to b once a is rejected.
    """
    share = {key: weights.get(key, 0.0) for key in p_values}
    graph: Edges[Key] = {key: dict(edges.get(key, {})) for key in p_values}
    waiting = {key: p for key, p in p_values.items() if not isnan(p)}
    result: dict[Key, float] = dict.fromkeys(p_values, nan) | dict.fromkeys(waiting, 1.0)
    largest = 0.0
    while ready := {key: p / share[key] for key, p in waiting.items() if share[key] > 0}:
        rejected = min(ready, key=ready.__getitem__)
        largest = result[rejected] = max(largest, min(1.0, ready[rejected]))
        del waiting[rejected]
        _pass_on(rejected, share, graph)
    return result


def _pass_on(rejected: Key, share: dict[Key, float], graph: Edges[Key]) -> None:
    """Remove a rejected hypothesis from the graph; its share and edges go to those it points to."""
    alpha, out = share.pop(rejected), graph.pop(rejected)
    for key in share:
        share[key] += alpha * out.get(key, 0.0)
    for key, edges in graph.items():
        into = edges.pop(rejected, 0.0)
        loop = 1 - into * out.get(key, 0.0)
        updated = {
            other: (edges.get(other, 0.0) + into * out.get(other, 0.0)) / loop
            for other in {**edges, **out}
            if other not in (key, rejected) and loop > 1e-12
        }
        graph[key] = {other: g for other, g in updated.items() if g > 0}


def gatekeeping(first: Sequence[Key], followers: Mapping[Key, Sequence[Key]]) -> tuple[dict[Key, float], Edges[Key]]:
    """Return weights and edges of a family whose `first` hypotheses gate their followers.

    The hypotheses of `first` share alpha equally, as Holm has it. A rejected one passes half of its share to its
    followers and half to the other first hypotheses; all of it where one of the two is empty. A follower does the same
    with its siblings and the other first hypotheses.
    """
    weights: dict[Key, float] = {key: 1 / len(first) for key in first}
    edges: Edges[Key] = {}
    for key in first:
        group = followers.get(key, ())
        rest = [other for other in first if other != key]
        edges[key] = _equally(rest, 0.5 if group and rest else 0.0 if group else 1.0)
        edges[key] |= _equally(group, 0.5 if rest else 1.0)
        for follower in group:
            siblings = [other for other in group if other != follower]
            edges[follower] = _equally(siblings, 0.5 if rest else 1.0)
            edges[follower] |= _equally(rest, 0.5 if siblings else 1.0)
    return weights, edges


def _equally(keys: Sequence[Key], total: float) -> dict[Key, float]:
    return {key: total / len(keys) for key in keys} if total else {}
