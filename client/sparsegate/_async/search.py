"""Ranked, explained answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Unpack

from sparsegate import _descriptions, _replies, _requests
from sparsegate._async.connection import Connection, patient
from sparsegate._filters import FilterLike
from sparsegate.explanation import Explanation
from sparsegate.results import SearchBatchResult, SearchResult
from sparsegate.types import (
    Calibration,
    CallOptions,
    DocumentId,
    OnTruncation,
    Search,
    SparseVector,
)
from sparsegate.v1 import search_pb2 as pb


class SearchCalls(Connection):
    async def search(
        self,
        collection: str,
        query: str | SparseVector,
        *,
        limit: int = 10,
        offset: int = 0,
        score_threshold: float | None = None,
        filter: FilterLike | None = None,
        must_contain: Sequence[str] = (),
        idf: bool = False,
        with_payload: bool = False,
        with_text: bool = False,
        with_vector: bool = False,
        with_query: bool = False,
        payload_include: Sequence[str] = (),
        payload_exclude: Sequence[str] = (),
        on_truncation: OnTruncation = "flag",
        effort: float | None = None,
        target_recall: float | None = None,
        tier: int | None = None,
        **options: Unpack[CallOptions],
    ) -> SearchResult:
        """Finds the documents that score highest. The result is exact unless less effort is asked
        for.

        Args:
            collection: name of the collection.
            query: a text, encoded by the collection's model, or a vector of your own.
            limit: greatest number of hits.
            offset: pass over so many hits at the top.
            score_threshold: only hits whose score is at or above it.
            filter: only documents that pass it; see `sparsegate.filters`.
            must_contain: words, codes or phrases that a hit's text must have, letter case aside.
            idf: weigh the query's terms by how rare they are in the collection.
            with_payload: return each hit's payload.
            with_text: return each hit's text.
            with_vector: return each hit's vector.
            with_query: return the encoded query.
            payload_include: only these top-level fields of payloads; implies `with_payload`.
            payload_exclude: all top-level fields but these; implies `with_payload`.
            on_truncation: what to do with a text that is too long.
            effort: how hard to try, above 0 and at most 1, which is exact, as is None. Below 1 less
                is read, and the result says what score was missed at most.
            target_recall: instead of `effort`, the share of the exact hits to find, for which the
                collection has to be calibrated; see `calibrate`.
            tier: search the vectors of this tier of the collection's ladder and no other; 0 is its
                own model. None takes the first that can encode the query; the result names it.

        Raises:
            InvalidArgument: a blank text, a bad vector, limit or filter.
            NotFound: no such collection.
            FailedPrecondition: the vector was made by another model, the filter needs an index, or
                the target recall a calibration.
            ResourceExhausted: the reply would be too large.
            SparsegateError: any other failure.
        """
        search = Search(
            collection=collection,
            query=query,
            limit=limit,
            with_payload=with_payload,
            with_text=with_text,
            with_vector=with_vector,
            with_query=with_query,
            on_truncation=on_truncation,
            offset=offset,
            score_threshold=score_threshold,
            filter=filter,
            must_contain=must_contain,
            idf=idf,
            payload_include=payload_include,
            payload_exclude=payload_exclude,
            effort=effort,
            target_recall=target_recall,
            tier=tier,
        )
        request = _requests.search(search)
        return _replies.search(await self._call(self._searcher.Search, request, options))

    async def search_batch(
        self, searches: Iterable[Search], **options: Unpack[CallOptions]
    ) -> SearchBatchResult:
        """Runs many searches. A refused one is an error in its place and does not fail the others.

        Raises:
            InvalidArgument: no searches, too many, or one that the wire cannot carry.
            SparsegateError: any other failure of the whole call.
        """
        request = pb.SearchBatchRequest(
            searches=[
                _requests.search(search, f"searches[{at}].") for at, search in enumerate(searches)
            ]
        )
        return _replies.search_batch(await self._call(self._searcher.SearchBatch, request, options))

    async def explain(
        self,
        collection: str,
        query: str | SparseVector,
        id: DocumentId,
        *,
        limit: int = 10,
        offset: int = 0,
        score_threshold: float | None = None,
        filter: FilterLike | None = None,
        must_contain: Sequence[str] = (),
        idf: bool = False,
        on_truncation: OnTruncation = "flag",
        tier: int | None = None,
        **options: Unpack[CallOptions],
    ) -> Explanation:
        """Shows term by term how a document scores for a query, and where it stands in the exact
        search that has the same arguments: its rank, or what keeps it out.

        Raises:
            InvalidArgument: a blank text, a bad vector, limit or filter.
            NotFound: no such collection or document.
            FailedPrecondition: the vector was made by another model, or the filter needs an index.
            SparsegateError: any other failure.
        """
        search = Search(
            collection=collection,
            query=query,
            limit=limit,
            on_truncation=on_truncation,
            offset=offset,
            score_threshold=score_threshold,
            filter=filter,
            must_contain=must_contain,
            idf=idf,
            tier=tier,
        )
        request = _requests.explain(search, id)
        return _replies.explain(await self._call(self._searcher.Explain, request, options))

    async def calibrate(
        self,
        collection: str,
        queries: Iterable[str | SparseVector],
        *,
        limit: int = 10,
        **options: Unpack[CallOptions],
    ) -> Calibration:
        """Measures how much effort a recall takes in a collection, and keeps that with it, in the
        place of what was measured before, for searches with a `target_recall`.

        It takes as long as some twenty searches for each query: without `timeout` it may take an
        hour.

        Args:
            collection: name of the collection.
            queries: 10 to 10,000 like those that will be asked, texts or vectors of your own. The
                fewer, the wider the margin that a target recall is served with.
            limit: hits of each search, of which the recall is measured.

        Raises:
            InvalidArgument: a bad query or limit, too few queries, or too few that find anything.
            NotFound: no such collection.
            SparsegateError: any other failure.
        """
        request = _requests.calibrate(collection, queries, limit)
        method = self._searcher.CalibrateEffort
        reply = await self._call(method, request, patient(options))
        return _descriptions.calibration(reply.calibration)
