"""The reply of Explain."""

from __future__ import annotations

from sparsegate.v1 import search_pb2
from sparsegate_server.rpc.clauses import Clauses
from sparsegate_server.rpc.ids import id_to
from sparsegate_server.search.explain import TermContribution, TermGap
from sparsegate_server.search.query import Explained


def explanation_to(done: Explained, clauses: Clauses) -> search_pb2.ExplainResponse:
    """All but the timings."""
    standing, query = done.standing, done.query
    reply = search_pb2.ExplainResponse(
        id=id_to(done.id),
        score=done.explanation.score,
        matched=bool(done.explanation.terms),
        terms=map(_contribution, done.explanation.terms),
        missing=map(_contribution, done.explanation.missing),
        fingerprint=query.config.fingerprint,
        truncated=query.truncated,
        capped=query.capped,
        sequence=standing.sequence,
        rank=standing.rank or 0,
        returned=standing.returned,
        dropped_by=clauses.place(standing.dropped_by),
        below_threshold=standing.below_threshold,
        gap=done.gap,
        closing=map(_term_gap, done.closing),
        unindexed=standing.unindexed,
    )
    if standing.bar_id is not None:
        reply.bar.id.CopyFrom(id_to(standing.bar_id))
        reply.bar.score = standing.bar_score or 0.0
    return reply


def _contribution(row: TermContribution) -> search_pb2.TermContribution:
    return search_pb2.TermContribution(
        term_id=row.term_id,
        term=row.term,
        query_weight=row.query_weight,
        document_weight=row.document_weight,
        contribution=row.contribution,
    )


def _term_gap(row: TermGap) -> search_pb2.TermGap:
    return search_pb2.TermGap(
        term_id=row.term_id,
        term=row.term,
        query_weight=row.query_weight,
        document_weight=row.document_weight,
        bar_weight=row.bar_weight,
        difference=row.difference,
    )
