"""From the candidates of all parts to one ranking."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.part import Candidates, Part


class Ranked(NamedTuple):
    score: float
    key: bytes
    part: Part
    row: int


def best(candidates: Sequence[Candidates], limit: int) -> list[Ranked]:
    """The `limit` best: by descending score, equal scores by ascending key."""
    scores = np.concatenate([each.scores for each in candidates])
    rows = np.concatenate([each.rows for each in candidates])
    owners = np.repeat(np.arange(len(candidates)), [len(each.rows) for each in candidates])
    if len(scores) > limit:
        # Everything that ties with the last place is still in the race for it.
        last = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        kept = np.flatnonzero(scores >= last)
    else:
        kept = np.arange(len(scores))
    order = kept[np.argsort(-scores[kept], kind="stable")]
    ranked = [
        Ranked(score, candidates[owner].part.key(row), candidates[owner].part, row)
        for score, owner, row in zip(
            scores[order].tolist(), owners[order].tolist(), rows[order].tolist(), strict=True
        )
    ]
    for start, stop in _runs(scores[order]):
        ranked[start:stop] = sorted(ranked[start:stop], key=_key)
    return ranked[:limit]


def _runs(scores: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Where two or more equal scores stand side by side."""
    changes = np.flatnonzero(scores[1:] != scores[:-1]) + 1
    bounds = [0, *changes.tolist(), len(scores)]
    return [(start, stop) for start, stop in pairwise(bounds) if stop - start > 1]


def _key(ranked: Ranked) -> bytes:
    return ranked.key
