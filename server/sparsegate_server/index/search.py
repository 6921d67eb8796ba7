"""Search and standing over one view: plain computation, nothing but arrays and parts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from sparsegate_server.errors import InvalidVector, UnknownTerm
from sparsegate_server.index.fan_out import fan_out
from sparsegate_server.index.part import NO_BAR, Asked, Candidates, Part, Query, Scratch
from sparsegate_server.index.ranking import Ranked, best
from sparsegate_server.index.view import View
from sparsegate_server.types import MAX_WEIGHT, SparseVector

Allowed = Mapping[Part, BitMap]
"""Rows by part that may be hits; parts that are missing have none."""

_MOST_TERMS: Final = 2**16
_scratch: Final = Scratch()


def checked(query: SparseVector, vocabulary: int) -> SparseVector:
    """The query, fit for kernels, which check nothing.

    Raises:
        InvalidVector, UnknownTerm.
    """
    terms = np.ascontiguousarray(query.indices, np.uint32)
    weights = np.ascontiguousarray(query.values, np.float32)
    if len(terms) != len(weights):
        raise InvalidVector(
            f"{len(terms)} indices but {len(weights)} values: send one value per index",
            field="values",
        )
    if len(terms) > _MOST_TERMS:
        raise InvalidVector(f"{len(terms)} terms, more than {_MOST_TERMS}", field="indices")
    if (terms[1:] <= terms[:-1]).any():
        raise InvalidVector("term ids must ascend without repetition", field="indices")
    if len(terms) and terms[-1] >= vocabulary:
        raise UnknownTerm(
            f"term id {terms[-1]} is outside the vocabulary of {vocabulary} terms",
            field=f"indices[{len(terms) - 1}]",
        )
    if not ((weights > 0) & (weights <= MAX_WEIGHT)).all():  # a NaN fails both
        raise InvalidVector(f"weights must be above 0 and at most {MAX_WEIGHT:g}", field="values")
    return SparseVector(terms, weights)


def with_idf(query: SparseVector, view: View) -> SparseVector:
    """Each weight times ln(1 + (N - n + 0.5) / (n + 0.5)), in float64, rounded to float32.

    N counts the live documents of the whole collection at the view's instant, n those that have the
    term. The factor is Robertson and Spärck Jones' with Lucene's 1 inside the logarithm, which
    keeps it above zero.
    """
    counts = np.zeros(len(query), np.int64)
    for part in view.parts:
        counts += part.frequencies(query.indices, view.sequence)
    factors = [
        math.log(1 + (view.documents - count + 0.5) / (count + 0.5)) for count in counts.tolist()
    ]
    weights = (query.values.astype(np.float64) * np.array(factors)).astype(np.float32)
    # A factor can push the smallest weights below what a float32 can say.
    kept = weights > 0
    return SparseVector(query.indices[kept], weights[kept])


def bar_below(threshold: float | None) -> np.float32:
    """The greatest float32 below a threshold: what scores above it reaches the threshold."""
    if threshold is None:
        return NO_BAR
    with np.errstate(over="ignore"):
        bar = np.float32(threshold)
    if float(bar) >= threshold:  # as float64: a float32 would have the threshold rounded first
        bar = np.nextafter(bar, np.float32(-np.inf))
    return max(NO_BAR, bar)


def search(
    view: View,
    query: Query,
    allowed: Allowed | None,
    pool: ThreadPoolExecutor | None,
) -> tuple[list[Ranked], int]:
    """The `query.limit` best, best first, and how many weights were read."""
    if not len(query.terms):
        return [], 0
    lanes = fan_out(pool, partial(_search_parts, query, allowed), view.lanes)
    candidates = [each for lane in lanes for each in lane]
    ranked = best(candidates, query.limit) if candidates else []
    return ranked, sum(each.scored for each in candidates)


def score(query: Query, part: Part, row: int) -> float | None:
    """The score of one document; None if it shares no term."""
    with _asking(query) as asked:
        found = part.above(asked, NO_BAR, np.array([row], np.uint32))
    return float(found.scores[0]) if len(found.scores) else None


def better(view: View, query: Query, allowed: Allowed | None, own: float, key: bytes) -> int:
    """How many documents come before one that scores `own` under the id `key`."""
    bar = np.nextafter(np.float32(own), np.float32(-np.inf))
    count = 0
    with _asking(query) as asked:
        for part in view.parts:
            rows = np.arange(part.rows, dtype=np.uint32)
            if allowed is not None:
                rows = np.array(allowed.get(part, ()), np.uint32)
            found = part.above(asked, bar, rows)
            ties = found.rows[found.scores == np.float32(own)].tolist()
            count += len(found.scores) - len(ties)
            count += sum(part.key(row) < key for row in ties)
    return count


class _asking:  # noqa: N801 - reads as the verb that it is
    """A query spread out over the calling thread's scratch, for as long as the context lasts."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._table = _scratch.table(query.vocabulary)

    def __enter__(self) -> Asked:
        self._table[self._query.terms] = self._query.weights
        return Asked(self._query, self._table, _scratch.accumulator)

    def __exit__(self, *_: object) -> None:
        self._table[self._query.terms] = 0.0


def _search_parts(query: Query, allowed: Allowed | None, parts: Sequence[Part]) -> list[Candidates]:
    """Candidates of several parts, one after the other in the calling thread."""
    bar = query.bar
    found = []
    with _asking(query) as asked:
        for part in parts:
            rows = None if allowed is None else allowed.get(part, BitMap())
            if rows is not None and not rows:
                continue
            candidates = part.search(asked, bar, rows)
            found.append(candidates)
            bar = max(bar, _bar_of(candidates.scores, query.limit))
    return found


def _bar_of(scores: NDArray[np.float32], limit: int) -> np.float32:
    """What the limit-th best of a part says about the whole: it bounds the limit-th best of all
    from below. What ties with it may still have a smaller id, so the bar lies just under it."""
    if len(scores) < limit:
        return NO_BAR
    worst = np.partition(scores, -limit)[-limit]
    return np.float32(np.nextafter(worst, np.float32(-np.inf)))
