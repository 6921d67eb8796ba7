"""The reply of Explain."""

from __future__ import annotations

from typing import Final

from sparsegate.v1 import search_pb2
from sparsegate_server.rpc.clauses import Clauses
from sparsegate_server.rpc.identity import execution_to
from sparsegate_server.rpc.ids import id_to
from sparsegate_server.rpc.tiers import tier_to
from sparsegate_server.search.explain import TermContribution, TermGap
from sparsegate_server.search.query import Explained
from sparsegate_server.search.sources import Sources, SourceState

_STATES: Final[dict[SourceState, search_pb2.SourceState.ValueType]] = {
    SourceState.KNOWN: search_pb2.SOURCE_STATE_KNOWN,
    SourceState.NO_POSITIONS: search_pb2.SOURCE_STATE_NO_POSITIONS,
    SourceState.NO_TEXT: search_pb2.SOURCE_STATE_NO_TEXT,
    SourceState.OTHER_VECTOR: search_pb2.SOURCE_STATE_OTHER_VECTOR,
    SourceState.UNAVAILABLE: search_pb2.SOURCE_STATE_UNAVAILABLE,
}


def explanation_to(done: Explained, clauses: Clauses) -> search_pb2.ExplainResponse:
    """All but the timings."""
    standing, query = done.standing, done.query
    reply = search_pb2.ExplainResponse(
        id=id_to(done.id),
        score=done.explanation.score,
        matched=bool(done.explanation.terms),
        terms=(_contribution(row, done) for row in done.explanation.terms),
        missing=(_contribution(row, done) for row in done.explanation.missing),
        fingerprint=query.answering.fingerprint,
        truncated=query.truncated,
        capped=query.capped,
        sequence=standing.sequence,
        rank=standing.rank or 0,
        returned=standing.returned,
        dropped_by=clauses.place(standing.dropped_by),
        below_threshold=standing.below_threshold,
        gap=done.gap,
        closing=(_term_gap(row, done) for row in done.closing),
        unindexed=standing.unindexed,
        execution=execution_to(query.execution) if query.execution else None,
        query_sources=_STATES[done.query_sources.state],
        document_sources=_STATES[done.document_sources.state],
        tier=tier_to(query),
    )
    if standing.bar_id is not None:
        reply.bar.id.CopyFrom(id_to(standing.bar_id))
        reply.bar.score = standing.bar_score or 0.0
    return reply


def _contribution(row: TermContribution, done: Explained) -> search_pb2.TermContribution:
    return search_pb2.TermContribution(
        term_id=row.term_id,
        term=row.term,
        query_weight=row.query_weight,
        document_weight=row.document_weight,
        contribution=row.contribution,
        query_source=_source(done.query_sources, row.term_id),
        document_source=_source(done.document_sources, row.term_id),
    )


def _term_gap(row: TermGap, done: Explained) -> search_pb2.TermGap:
    return search_pb2.TermGap(
        term_id=row.term_id,
        term=row.term,
        query_weight=row.query_weight,
        document_weight=row.document_weight,
        bar_weight=row.bar_weight,
        difference=row.difference,
        query_source=_source(done.query_sources, row.term_id),
        document_source=_source(done.document_sources, row.term_id),
    )


def _source(sources: Sources, term_id: int) -> search_pb2.SourceToken | None:
    token = sources.tokens.get(term_id)
    if token is None:
        return None
    return search_pb2.SourceToken(
        position=token.position,
        text=token.text,
        start=token.start,
        end=token.end,
        word=token.word,
    )
