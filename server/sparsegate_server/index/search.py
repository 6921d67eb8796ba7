"""Search and standing over one view: plain computation, nothing but arrays and parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from sparsegate_server.errors import InvalidVector, UnknownTerm
from sparsegate_server.index import kernels
from sparsegate_server.index.chooser import SCAN
from sparsegate_server.index.fan_out import fan_out
from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.leaders import NO_BAR, Leaders
from sparsegate_server.index.part import Candidates, Part, Query
from sparsegate_server.index.ranking import Ranking, best
from sparsegate_server.index.segment import Segment
from sparsegate_server.index.sweep import sweep
from sparsegate_server.index.view import View
from sparsegate_server.types import MAX_WEIGHT, SparseVector

Allowed = Mapping[Part, Mask]
"""Rows of every part that may be hits; some may not be visible."""

_MOST_TERMS: Final = 2**16
_MOST_WEIGHT: Final = np.float32(MAX_WEIGHT)


# Not frozen: one is made for every search, and freezing takes half a microsecond.
@dataclass(slots=True, eq=False)
class Outcome:
    """Attributes:
    ranking: the best documents.
    scored: how many stored weights were read.
    skipped: how many blocks of documents were passed over.
    missed: no document that was missed scores above it; below 0 if none was.
    """

    ranking: Ranking
    scored: int
    skipped: int
    missed: float


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
    span = np.array((0, len(terms)), np.int64)
    fault, _, at = kernels.check_rows(span, terms, weights, vocabulary, _MOST_WEIGHT)
    if fault == kernels.UNSORTED:
        raise InvalidVector("term ids must ascend without repetition", field="indices")
    if fault == kernels.UNKNOWN_TERM:
        raise UnknownTerm(
            f"term id {terms[at]} is outside the vocabulary of {vocabulary} terms",
            field=f"indices[{at}]",
        )
    if fault == kernels.BAD_WEIGHT:
        raise InvalidVector(f"weights must be above 0 and at most {MAX_WEIGHT:g}", field="values")
    return SparseVector(terms, weights)


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
) -> Outcome:
    """The `query.limit` best, best first."""
    if not len(query.terms):
        return Outcome(best((), 0), 0, 0, -1.0)
    lanes = fan_out(pool, partial(_search_parts, query, allowed), view.lanes)
    candidates = [each for lane in lanes for each in lane]
    scored, skipped, missed = 0, 0, -1.0
    for each in candidates:
        scored += each.scored
        skipped += each.skipped
        missed = max(missed, each.missed)
    return Outcome(best(candidates, query.limit), scored, skipped, missed)


def score(query: Query, part: Part, row: int) -> float | None:
    """The score of one document; None if it shares no term."""
    found = part.above(query, NO_BAR, np.array([row], np.uint32))
    return float(found.scores[0]) if len(found.scores) else None


def better(view: View, query: Query, allowed: Allowed | None, own: float, key: bytes) -> int:
    """How many documents come before one that scores `own` under the id `key`."""
    bar = np.nextafter(np.float32(own), np.float32(-np.inf))
    count = 0
    for part in view.parts:
        rows = np.arange(part.rows, dtype=np.uint32)
        if allowed is not None:
            rows = allowed[part].rows()
        found = part.above(query, bar, rows)
        ties = found.rows[found.scores == np.float32(own)].tolist()
        count += len(found.scores) - len(ties)
        count += sum(part.key(row) < key for row in ties)
    return count


def _search_parts(query: Query, allowed: Allowed | None, parts: Sequence[Part]) -> list[Candidates]:
    """Candidates of several parts, in the calling thread: first of the segments that a kernel goes
    through together, then of the others, one by one."""
    leaders = Leaders(min(query.limit, sum([part.rows for part in parts])), query.bar)
    segments: list[Segment] = []
    ways: list[int] = []
    masks: list[Mask | None] = []
    others: list[Callable[[], Candidates]] = []
    for part in parts:
        mask = None if allowed is None else allowed[part]
        if mask is not None and not mask:
            continue
        if not isinstance(part, Segment):
            others.append(partial(part.search, query, leaders, mask))
        elif (way := part.way(query, mask)) == SCAN:
            others.append(partial(part.search_by, way, query, leaders, mask))
        else:
            segments.append(part)
            ways.append(way)
            masks.append(mask)
    found = [sweep(segments, ways, masks, query, leaders)] if segments else []
    return found + [search() for search in others]
