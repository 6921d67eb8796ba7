"""What can be asked of a collection. Every method pins one view and looks at nothing else."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sparsegate_server.errors import DocumentNotFound, InvalidRequest, ReplyTooLarge
from sparsegate_server.filters import Filter
from sparsegate_server.index import ids
from sparsegate_server.index import search as searching
from sparsegate_server.index.filter import evaluate
from sparsegate_server.index.filter.match import dropped_by
from sparsegate_server.index.filtering import Filtering, Passing
from sparsegate_server.index.hydration import Hydration
from sparsegate_server.index.part import Query
from sparsegate_server.index.ranking import Ranked
from sparsegate_server.index.view import Place, Published, View
from sparsegate_server.operations import (
    WHOLE,
    Counted,
    Fetched,
    Hit,
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
        query = searching.checked(query, self._vocabulary)
        _check_limits(options)
        with self._published.pin() as view:
            query, ranked, scored, passing = self._ranked(view, query, options)
            hits = ranked[options.offset :]
            places = [(each.part, each.row) for each in hits]
            _check_size(places, options)
            documents = self._hydration.found(places, options.select) if options.select else []
            return SearchResult(
                tuple(Hit(ids.decode(each.key), each.score) for each in hits),
                view.sequence,
                scored,
                query,
                tuple(documents),
                passing.unindexed if passing else (),
            )

    def explain(
        self, query: SparseVector, document_id: DocumentId, options: SearchOptions
    ) -> Standing:
        """Where a document stands in a search.

        Raises:
            DocumentNotFound, and whatever `search` raises.
        """
        query = searching.checked(query, self._vocabulary)
        _check_limits(options)
        key = ids.encode(document_id)
        with self._published.pin() as view:
            (place,) = view.find([key])
            if place is None:
                raise DocumentNotFound(f"no document has the id {document_id!r}", field="id")
            query, ranked, _, passing = self._ranked(view, query, options)
            hits = ranked[options.offset :]
            return self._standing(view, query, options, place, key, hits, passing)

    def _standing(
        self,
        view: View,
        query: SparseVector,
        options: SearchOptions,
        place: Place,
        key: bytes,
        hits: Sequence[Ranked],
        passing: Passing | None,
    ) -> Standing:
        asked = self._asked(view, query, options)
        part, row = place
        own = searching.score(asked, part, row)
        dropped = self._dropped_by(options.filter, place)
        below = own is not None and bool(np.float32(own) <= asked.bar)
        rank = None
        if own is not None and not dropped and not below:
            allowed = passing.rows if passing else None
            rank = 1 + searching.better(view, asked, allowed, own, key)
        last = hits[-1] if hits else None
        return Standing(
            query=query,
            vector=part.vector(row),
            score=own,
            rank=rank,
            returned=rank is not None and options.offset < rank <= options.offset + options.limit,
            dropped_by=dropped,
            below_threshold=below,
            bar_id=ids.decode(last.key) if last else None,
            bar_score=last.score if last else None,
            bar_vector=last.part.vector(last.row) if last else None,
            sequence=view.sequence,
            unindexed=passing.unindexed if passing else (),
        )

    def get(self, document_ids: Sequence[DocumentId], select: Selection = WHOLE) -> Fetched:
        """One item per id, in order; None where there is no such document."""
        keys = ids.encode_all(document_ids, "ids")
        with self._published.pin() as view:
            places = view.find(keys)
            known = [place for place in places if place is not None]
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
    ) -> Page:
        """The first `limit` documents whose ids come after `after` and that pass, in id order."""
        if limit < 1:
            raise InvalidRequest(f"limit is {limit}: ask for at least 1 document", field="limit")
        start = b"" if after is None else ids.encode(after, "after")
        with self._published.pin() as view:
            passing = self._filtering.passing(view, filter) if filter else None
            places = _after(view, passing, start, limit + 1)
            page = self._hydration.found(places[:limit], select)
            more = page[-1].id if len(places) > limit else None
            return Page(tuple(page), more, view.sequence, passing.unindexed if passing else ())

    def count(self, filter: Filter | None = None) -> Counted:
        """Live documents that pass."""
        with self._published.pin() as view:
            if filter is None:
                return Counted(view.documents, view.sequence)
            passing = self._filtering.passing(view, filter)
            return Counted(passing.count(), view.sequence, passing.unindexed)

    def _ranked(
        self, view: View, query: SparseVector, options: SearchOptions
    ) -> tuple[SparseVector, list[Ranked], int, Passing | None]:
        if options.idf:
            query = searching.with_idf(query, view)
        passing = self._filtering.passing(view, options.filter) if options.filter else None
        allowed = passing.rows if passing else None
        asked = self._asked(view, query, options)
        ranked, scored = searching.search(view, asked, allowed, self._pool)
        return query, ranked, scored, passing

    def _asked(self, view: View, query: SparseVector, options: SearchOptions) -> Query:
        return Query(
            query.indices,
            query.values,
            self._vocabulary,
            options.limit + options.offset,
            np.uint64(view.sequence),
            searching.bar_below(options.threshold),
        )

    def _dropped_by(self, filter: Filter | None, place: Place) -> str:
        if filter is None:
            return ""
        (document,) = self._hydration.found([place], WHOLE)
        return dropped_by(filter, document.id, document.text, document.payload)


def _check_limits(options: SearchOptions) -> None:
    if options.limit < 1:
        raise InvalidRequest(f"limit is {options.limit}: ask for at least 1 hit", field="limit")
    if options.offset < 0:
        raise InvalidRequest(f"offset is {options.offset}: it counts hits from 0", field="offset")
    if options.filter:
        evaluate.check(options.filter)


def _check_size(places: Sequence[Place], options: SearchOptions) -> None:
    """Raises ReplyTooLarge before anything is read that the reply could not hold."""
    if not options.max_bytes or not places:
        return
    size = estimated_bytes(places, options.select)
    if size > options.max_bytes:
        raise ReplyTooLarge(
            f"the reply would have about {size} bytes, more than the {options.max_bytes} allowed:"
            " page with a smaller limit and an offset, or select fewer fields",
            field="limit",
        )


_HIT_BYTES = 40
_WEIGHT_BYTES = 9


def estimated_bytes(places: Sequence[Place], select: Selection) -> int:
    """Size of a reply with these documents, from what is known of them without reading them. The
    payload counts as a whole, even where only some of its fields are selected."""
    by_part: dict[int, tuple[Place, list[int]]] = {}
    for place in places:
        by_part.setdefault(id(place[0]), (place, []))[1].append(place[1])
    total = len(places) * _HIT_BYTES
    for (part, _), rows in by_part.values():
        text, payload, weights = part.sizes(np.array(rows, np.uint32))
        total += text * select.text + payload * select.payload
        total += weights * _WEIGHT_BYTES * select.vector
    return total


def _after(view: View, passing: Passing | None, start: bytes, limit: int) -> list[Place]:
    """The first `limit` places after a key, in key order."""
    streams = []
    for part in view.parts:
        if passing is None:
            found = part.after(start, limit, view.sequence)
        else:
            found = _first_of(part, passing, start, limit)
        streams.append([(key, part, row) for key, row in found])
    merged = heapq.merge(*streams, key=lambda each: each[0])
    return [(part, row) for _, (_, part, row) in zip(range(limit), merged, strict=False)]


def _first_of(part, passing: Passing, start: bytes, limit: int):  # type: ignore[no-untyped-def]
    rows = passing.rows.get(part, ())
    return heapq.nsmallest(limit, ((key, row) for row in rows if (key := part.key(row)) > start))
