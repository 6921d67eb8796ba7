"""What can be asked of a collection. Every method pins one view and looks at nothing else."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
from pyroaring import BitMap

from sparsegate_server.errors import DocumentNotFound, InvalidRequest
from sparsegate_server.filters import Filter
from sparsegate_server.index import ids, sizes
from sparsegate_server.index import search as searching
from sparsegate_server.index.batch import Batch, Search
from sparsegate_server.index.filter.match import dropped_by
from sparsegate_server.index.filtering import Filtering, Passing
from sparsegate_server.index.hydration import Hydration
from sparsegate_server.index.instant import Instant, SharedInstant
from sparsegate_server.index.part import Part, Query
from sparsegate_server.index.ranking import Ranking
from sparsegate_server.index.segment import Segment
from sparsegate_server.index.view import Place, Published, View
from sparsegate_server.operations import (
    WHOLE,
    Counted,
    Fetched,
    Found,
    Page,
    SearchOptions,
    SearchResult,
    Selection,
    Standing,
)
from sparsegate_server.types import DocumentId, SparseVector


class Reader:
    """Reads never wait for writes.

    Args:
        vocabulary: term ids are below it.
        pool: where the threads of a search come from besides the calling one; None for none.
    """

    def __init__(
        self,
        published: Published,
        filtering: Filtering,
        hydration: Hydration,
        *,
        vocabulary: int,
        pool: ThreadPoolExecutor | None,
    ) -> None:
        self._published = published
        self._filtering = filtering
        self._hydration = hydration
        self._vocabulary = vocabulary
        self._pool = pool

    def search(self, query: SparseVector, options: SearchOptions) -> SearchResult:
        """The exact best documents that share a term with the query.

        Raises:
            InvalidRequest: a limit below 1 or an offset below 0.
            InvalidVector, UnknownTerm: a query that no document could be scored by.
            InvalidFilter, UnindexedFilter, ReplyTooLarge.
        """
        with self._published.pin() as view:
            return self._found(Instant(view, self._filtering), self._pool, query, options)

    def batch(
        self,
        searches: Sequence[tuple[SparseVector, SearchOptions]],
        ask: Callable[[Search, SparseVector, SearchOptions], SearchResult],
        *,
        threads: int,
    ) -> Batch:
        """Searches as of now, to be answered later; what they have in common is worked out once.

        Args:
            ask: has one search answered by the function that it is given.
            threads: how many will answer. Only where these are not all busy with a search of their
                own, a search takes several.
        """
        pin = ExitStack()
        view = pin.enter_context(self._published.pin())
        filters = [options.filter for _, options in searches if options.filter]
        instant = SharedInstant(view, self._filtering, self._vocabulary, filters)
        pool = self._pool if len(searches) < threads else None
        search = partial(self._found, instant, pool)
        return Batch(searches, partial(ask, search), pin.close)

    def explain(
        self, query: SparseVector, document_id: DocumentId, options: SearchOptions
    ) -> Standing:
        """Where a document stands in a search.

        Raises:
            DocumentNotFound, and whatever `search` raises.
        """
        key = ids.encode(document_id)
        with self._published.pin() as view:
            (place,) = view.find([key])
            if place is None:
                raise DocumentNotFound(
                    f"no document has the id {document_id!r}: scroll through the collection to see "
                    'its ids; 18 and "18" are two',
                    field="id",
                )
            searched = self._searched(Instant(view, self._filtering), self._pool, query, options)
            dropped = self._dropped_by(options.filter, place)
            return _standing(view, searched, options, place, key, dropped)

    def get(
        self, document_ids: Sequence[DocumentId], select: Selection = WHOLE, *, max_bytes: int = 0
    ) -> Fetched:
        """One item per id, in order; None where there is no such document.

        Raises:
            InvalidRequest: an id that is none. ReplyTooLarge.
        """
        keys = ids.encode_all(document_ids, "ids")
        with self._published.pin() as view:
            places = view.find(keys)
            known = [place for place in places if place is not None]
            advice = "ask for fewer ids at a time"
            sizes.check(known, select, max_bytes, field="ids", advice=advice)
            documents = iter(self._hydration.found(known, select))
            return Fetched(
                tuple(None if place is None else next(documents) for place in places),
                view.sequence,
            )

    def scroll(
        self,
        after: DocumentId | None,
        limit: int,
        filter: Filter | None = None,
        select: Selection = WHOLE,
        *,
        max_bytes: int = 0,
    ) -> Page:
        """The first documents whose ids come after `after` and that pass, in id order: `limit` of
        them, or as many as `max_bytes` are enough for.

        Raises:
            InvalidRequest: a limit below 1, or an id that is none. InvalidFilter, UnindexedFilter.
        """
        if limit < 1:
            raise InvalidRequest(f"limit is {limit}: ask for at least 1 document", field="limit")
        start = b"" if after is None else ids.encode(after, "after")
        with self._published.pin() as view:
            passing = self._filtering.passing(view, filter) if filter else None
            places = _after(view, passing, start, limit + 1)
            fits = min(limit, sizes.fitting(places, select, max_bytes))
            page = self._hydration.found(places[:fits], select)
            more = page[-1].id if len(places) > fits else None
            return Page(tuple(page), more, view.sequence, passing.unindexed if passing else ())

    def count(self, filter: Filter | None = None) -> Counted:
        """Live documents that pass."""
        with self._published.pin() as view:
            if filter is None:
                return Counted(view.documents, view.sequence)
            passing = self._filtering.passing(view, filter)
            return Counted(passing.count(), view.sequence, passing.unindexed)

    def _documents(self, hits: Ranking, options: SearchOptions) -> tuple[Found, ...]:
        places = hits.places()
        advice = "page with a smaller limit and an offset"
        sizes.check(places, options.select, options.max_bytes, field="limit", advice=advice)
        return tuple(self._hydration.found(places, options.select))

    def _found(
        self,
        instant: Instant,
        pool: ThreadPoolExecutor | None,
        query: SparseVector,
        options: SearchOptions,
    ) -> SearchResult:
        searched = self._searched(instant, pool, query, options)
        documents = self._documents(searched.hits, options) if options.select else ()
        missed = _missed(searched, options)
        return SearchResult(
            searched.hits.ids(),
            searched.hits.scores.tolist(),
            instant.view.sequence,
            searched.outcome.scored,
            searched.query,
            documents,
            searched.unindexed,
            searched.outcome.skipped,
            missed is not None,
            missed,
        )

    def _searched(
        self,
        instant: Instant,
        pool: ThreadPoolExecutor | None,
        query: SparseVector,
        options: SearchOptions,
    ) -> _Searched:
        query = searching.checked(query, self._vocabulary)
        _check_limits(options)
        passing = instant.passing(options.filter) if options.filter else None
        if options.idf:
            query = instant.with_idf(query)
        asked = Query(
            query.indices,
            query.values,
            self._vocabulary,
            options.limit + options.offset,
            np.uint64(instant.view.sequence),
            searching.bar_below(options.threshold),
            options.effort,
        )
        allowed = passing.masks if passing else None
        outcome = searching.search(instant.view, asked, allowed, pool)
        hits = outcome.ranking.after(options.offset)
        return _Searched(query, asked, passing, hits, outcome)

    def _dropped_by(self, filter: Filter | None, place: Place) -> str:
        if filter is None:
            return ""
        (document,) = self._hydration.found([place], WHOLE)
        return dropped_by(filter, document.id, document.text, document.payload)


# Not frozen: one is made for every search, and freezing takes half a microsecond.
@dataclass(slots=True, eq=False)
class _Searched:
    """Attributes:
    query: the vector that was scored.
    passing: the rows that the filter lets pass; None if there is no filter.
    hits: those that the search returns, best first.
    """

    query: SparseVector
    asked: Query
    passing: Passing | None
    hits: Ranking
    outcome: searching.Outcome

    @property
    def unindexed(self) -> tuple[str, ...]:
        return self.passing.unindexed if self.passing else ()


def _missed(searched: _Searched, options: SearchOptions) -> float | None:
    """What no missed document scores above; None if none that was missed could be a hit."""
    missed, ranking = searched.outcome.missed, searched.outcome.ranking
    full = len(ranking) == options.limit + options.offset
    needed = ranking.scores[-1] if full else searched.asked.bar
    if missed < 0 or missed < needed:
        return None
    # Rounded up, because a reply carries it as a float32.
    rounded = np.float32(missed)
    return float(rounded if rounded >= missed else np.nextafter(rounded, np.float32(np.inf)))


def _standing(
    view: View, searched: _Searched, options: SearchOptions, place: Place, key: bytes, dropped: str
) -> Standing:
    part, row = place
    own = searching.score(searched.asked, part, row)
    below = own is not None and bool(np.float32(own) <= searched.asked.bar)
    rank = None
    if own is not None and not dropped and not below:
        allowed = searched.passing.masks if searched.passing else None
        rank = 1 + searching.better(view, searched.asked, allowed, own, key)
    hits = searched.hits
    last = hits.places()[-1] if len(hits) else None
    return Standing(
        query=searched.query,
        vector=part.vector(row),
        score=own,
        rank=rank,
        returned=rank is not None and options.offset < rank <= options.offset + options.limit,
        dropped_by=dropped,
        below_threshold=below,
        bar_id=ids.decode(last[0].key(last[1])) if last else None,
        bar_score=float(hits.scores[-1]) if last else None,
        bar_vector=last[0].vector(last[1]) if last else None,
        sequence=view.sequence,
        unindexed=searched.unindexed,
    )


def _check_limits(options: SearchOptions) -> None:
    if options.limit < 1:
        raise InvalidRequest(f"limit is {options.limit}: ask for at least 1 hit", field="limit")
    if options.offset < 0:
        raise InvalidRequest(f"offset is {options.offset}: it counts hits from 0", field="offset")


def _after(view: View, passing: Passing | None, start: bytes, limit: int) -> list[Place]:
    """The first `limit` places after a key, in key order."""
    streams = []
    for part in view.parts:
        found = (
            part.after(start, limit, view.sequence)
            if passing is None
            else _first_of(part, passing.rows[part], start, limit)
        )
        streams.append([(key, part, row) for key, row in found])
    merged = heapq.merge(*streams, key=lambda each: each[0])
    return [(part, row) for _, part, row in itertools.islice(merged, limit)]


def _first_of(part: Part, rows: BitMap, start: bytes, limit: int) -> list[tuple[bytes, int]]:
    """The first `limit` of the rows whose keys come after `start`: keys and rows, ascending."""
    if isinstance(part, Segment):  # its rows are in key order
        first = part.keys.first_after(start)
        return [
            (part.key(row), row)
            for row in itertools.islice(rows.iter_equal_or_larger(first), limit)
        ]
    keyed = ((part.key(row), row) for row in rows)
    return heapq.nsmallest(limit, (each for each in keyed if each[0] > start))
