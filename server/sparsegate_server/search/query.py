"""Search and Explain: a question to a vector, a vector to hits, a hit to its reasons."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sparsegate_server.backends.base import IndexBackend
from sparsegate_server.encoders.base import Caller
from sparsegate_server.errors import SparsegateError
from sparsegate_server.operations import Calibration, SearchOptions, SearchResult, Standing
from sparsegate_server.search.encode import EncodePlan
from sparsegate_server.search.explain import Explanation, TermGap, closing_terms, explain
from sparsegate_server.search.models import ServedModels
from sparsegate_server.search.resolve import Query, Resolved, Resolver
from sparsegate_server.search.sources import Sources
from sparsegate_server.search.timing import Timings
from sparsegate_server.search.tracing import DocumentTracer, trace_query
from sparsegate_server.telemetry.metrics import Metrics
from sparsegate_server.types import DocumentId

_SIDE_BY_SIDE: Final = 64
"""Texts of a calibration that are encoded at a time, so that searches get their turns between."""


@dataclass(frozen=True, slots=True)
class Found:
    query: Resolved
    result: SearchResult


@dataclass(frozen=True, slots=True)
class Explained:
    """Attributes:
    gap: by how much the document's score is below the bar's; None where it is returned, or not
        below.
    closing: the terms that would close it.
    query_sources, document_sources: the tokens that the terms came from.
    """

    query: Resolved
    id: DocumentId
    explanation: Explanation
    standing: Standing
    gap: float | None
    closing: tuple[TermGap, ...]
    query_sources: Sources
    document_sources: Sources


@dataclass(frozen=True, slots=True)
class SearchJob:
    """One search of a batch."""

    query: Query
    options: SearchOptions


@dataclass(frozen=True, slots=True)
class _Asked:
    """One search of a batch, and its place there."""

    at: int
    query: Resolved
    options: SearchOptions


class QueryPlan:
    def __init__(
        self, models: ServedModels, backend: IndexBackend, encode: EncodePlan, metrics: Metrics
    ) -> None:
        self._models = models
        self._backend = backend
        self._resolver = Resolver(models, backend, encode)
        self._metrics = metrics
        self._tracer = DocumentTracer(backend, encode)

    async def search(self, search: SearchJob, *, timings: Timings, caller: Caller) -> Found:
        """Runs one search.

        Raises:
            CollectionNotFound, ModelNotFound, FingerprintMismatch; BlankText, NoKnownTokens,
            TextTooLong, InvalidVector, UnknownTerm with the field `text` or below `vector`; and
            whatever the encoder raises.
        """
        query = await self._resolve_one(search.query, timings, caller)
        with timings.searching():
            result = await self._backend.search(
                query.config.name,
                query.vector,
                _options(query, search.options),
                config=query.config,
            )
        return self._found(query, result)

    async def search_batch(
        self,
        searches: Sequence[SearchJob | SparsegateError],
        *,
        timings: Timings,
        caller: Caller,
    ) -> list[Found | SparsegateError]:
        """Runs many searches, those of one collection as of one instant; items that are errors
        already stay so."""
        resolved = await self._resolver.resolve(
            [s if isinstance(s, SparsegateError) else s.query for s in searches], timings, caller
        )
        outcomes: dict[int, Found | SparsegateError] = {}
        together: dict[int, list[_Asked]] = {}
        for at, (search, query) in enumerate(zip(searches, resolved, strict=True)):
            if isinstance(search, SparsegateError):
                outcomes[at] = search
            elif isinstance(query, SparsegateError):
                outcomes[at] = query
            else:
                # The very config, because a collection may have been made anew under its name.
                same = together.setdefault(id(query.config), [])
                same.append(_Asked(at, query, _options(query, search.options)))
        with timings.searching():
            await asyncio.gather(*(self._find(asked, outcomes) for asked in together.values()))
        return [outcomes[at] for at in range(len(searches))]

    async def explain(
        self, search: SearchJob, id: DocumentId, *, timings: Timings, caller: Caller
    ) -> Explained:
        """Shows how a document scores in a search, and why it is returned or not.

        Raises:
            DocumentNotFound, and whatever `search` raises.
        """
        query = await self._resolve_one(search.query, timings, caller)
        with timings.searching():
            standing = await self._backend.explain(
                query.config.name,
                query.vector,
                id,
                _options(query, search.options),
                config=query.config,
            )
        query_sources = await trace_query(query.encoder, query.text, query.encoding)
        document_sources = await self._tracer.trace(
            query.encoder,
            query.config,
            id,
            standing.vector,
            standing.query.indices,
            timings=timings,
            caller=caller,
        )
        return _explained(query, id, standing, query_sources, document_sources)

    async def calibrate(
        self, queries: Sequence[Query], limit: int, *, timings: Timings, caller: Caller
    ) -> Calibration:
        """Measures how much effort a recall takes in a collection, and keeps that with it.

        Args:
            queries: at least one, all of one collection.
            limit: hits of each search.

        Raises:
            InvalidRequest: too few of the queries find anything; and whatever `search` raises, for
            any of them, with its field below `queries[…]`.
        """
        config = self._backend.config(queries[0].collection)
        self._models.knowing(config.own)
        resolved: list[Resolved] = []
        for start in range(0, len(queries), _SIDE_BY_SIDE):
            some = [replace(query, tier=0) for query in queries[start : start + _SIDE_BY_SIDE]]
            for at, query in enumerate(await self._resolver.resolve(some, timings, caller), start):
                if isinstance(query, SparsegateError):
                    raise query.under(f"queries[{at}]") if query.field else query
                resolved.append(query)
        vectors = [query.vector for query in resolved]
        with timings.searching():
            return await self._backend.calibrate(config.name, vectors, limit, config=config)

    async def _find(
        self, asked: Sequence[_Asked], outcomes: dict[int, Found | SparsegateError]
    ) -> None:
        """Adds what searches of one collection found, or why they did not."""
        config = asked[0].query.config
        searches = [(each.query.vector, each.options) for each in asked]
        results: Sequence[SearchResult | SparsegateError]
        try:
            results = await self._backend.search_batch(config.name, searches, config=config)
        except SparsegateError as error:
            results = [error] * len(asked)
        for each, result in zip(asked, results, strict=True):
            outcomes[each.at] = (
                result if isinstance(result, SparsegateError) else self._found(each.query, result)
            )

    def _found(self, query: Resolved, result: SearchResult) -> Found:
        self._metrics.searched(
            query.config.name,
            postings=result.postings_scored,
            blocks=result.blocks_skipped,
            approximate=result.approximate,
        )
        if query.passed_over:
            self._metrics.fell_back(query.config.name, query.answering.model)
        return Found(query, result)

    async def _resolve_one(self, query: Query, timings: Timings, caller: Caller) -> Resolved:
        (resolved,) = await self._resolver.resolve([query], timings, caller)
        if isinstance(resolved, SparsegateError):
            raise resolved
        return resolved


def _options(query: Resolved, options: SearchOptions) -> SearchOptions:
    """As the answering tier is to be searched. What a recall takes was measured with questions of
    the own model: other tiers are searched exactly for it."""
    if not query.tier:
        return options
    return replace(options, tier=query.tier, target_recall=None)


def _explained(
    query: Resolved,
    id: DocumentId,
    standing: Standing,
    query_sources: Sources,
    document_sources: Sources,
) -> Explained:
    term = query.term
    gap = _gap(standing)
    closing: tuple[TermGap, ...] = ()
    if gap is not None and standing.bar_vector is not None:
        closing = closing_terms(standing.query, standing.vector, standing.bar_vector, gap, term)
    explanation = explain(standing.query, standing.vector, term)
    return Explained(
        query, id, explanation, standing, gap, closing, query_sources, document_sources
    )


def _gap(standing: Standing) -> float | None:
    """Both scores are float32, so that their difference as float64 is exact enough to add up to."""
    if standing.returned or standing.bar_score is None:
        return None
    gap = standing.bar_score - (standing.score or 0.0)
    return gap if gap >= 0 else None
