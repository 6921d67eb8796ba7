"""How much faster one graph is than another: both take turns, and the fastest turns count."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.parity.vectors import Ids, Run, batched, padded

TEXTS = 48
ROUNDS = 5
LEAST_SECONDS = 3.0
MOST_SECONDS = 60.0
"""A measurement has `ROUNDS` turns a batch, more while it is shorter than the one, and no more than
begin before the other, but always two."""


def documents_per_second(
    spec: ModelSpec, graphs: Sequence[Run], rows: Sequence[Ids], advance: Callable[[], None]
) -> list[float]:
    """The speed of each graph on the same texts, on the calling thread.

    Every batch runs on all graphs in turn, so that a busy moment of the machine meets all of them
    alike; a batch's time is its fastest turn's.

    Args:
        rows: tokens of the texts, int32 [n].
        advance: called after every round.

    Returns:
        Texts a second, in the order of the graphs.
    """
    batches = [padded(spec, [rows[at] for at in batch]) for batch in batched(spec, rows)]
    best = [[float("inf")] * len(batches) for _ in graphs]
    began, rounds = time.perf_counter(), 0
    while _goes_on(rounds, time.perf_counter() - began):
        for at, batch in enumerate(batches):
            for graph, times in zip(graphs, best, strict=True):
                times[at] = min(times[at], _seconds(graph, batch))
        rounds += 1
        advance()
    return [len(rows) / sum(times) for times in best]


def _goes_on(rounds: int, seconds: float) -> bool:
    if rounds < 2:
        return True
    return seconds < MOST_SECONDS and (rounds < ROUNDS or seconds < LEAST_SECONDS)


def _seconds(graph: Run, batch: TokenBatch) -> float:
    began = time.perf_counter()
    graph(batch)
    return time.perf_counter() - began
