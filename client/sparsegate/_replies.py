"""Reply messages to results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from sparsegate._descriptions import execution
from sparsegate._messages import read_document, read_id, read_vector
from sparsegate._payload import read_payload
from sparsegate._status import error_from_status
from sparsegate.errors import SparsegateError
from sparsegate.explanation import (
    Bar,
    Explanation,
    SourceState,
    SourceToken,
    TermContribution,
    TermGap,
)
from sparsegate.results import (
    AnsweringTier,
    DeleteResult,
    EncodedQuery,
    EncodeResult,
    Encoding,
    GetResult,
    Hit,
    PassedOver,
    PayloadResult,
    ScrollPage,
    SearchBatchResult,
    SearchResult,
    Token,
    TokenizedText,
    TokenizeResult,
    UpsertResult,
)
from sparsegate.types import Timings
from sparsegate.v1 import common_pb2, document_pb2, encode_pb2, search_pb2


def timings(message: common_pb2.StageTimings) -> Timings:
    return Timings(
        tokenize_ms=message.tokenize_ms,
        queue_ms=message.queue_ms,
        infer_ms=message.infer_ms,
        search_ms=message.search_ms,
        total_ms=message.total_ms,
    )


def encode(reply: encode_pb2.EncodeResponse) -> EncodeResult:
    return EncodeResult(
        items=tuple(_encoded(result) for result in reply.results),
        model=reply.model,
        fingerprint=reply.fingerprint,
        timings=timings(reply.timings),
        execution=execution(reply),
    )


def _encoded(result: encode_pb2.EncodeResult) -> Encoding | SparsegateError:
    if result.WhichOneof("result") == "error":
        return error_from_status(result.error)
    encoding = result.encoding
    return Encoding(
        vector=read_vector(encoding.vector),
        terms=tuple(encoding.terms),
        tokens_used=encoding.tokens_used,
        truncated=encoding.truncated,
        capped=encoding.capped,
    )


def tokenize(reply: encode_pb2.TokenizeResponse) -> TokenizeResult:
    return TokenizeResult(
        texts=tuple(
            TokenizedText(
                tokens=tuple(Token(t.id, t.text, t.start, t.end) for t in text.tokens),
                truncated=text.truncated,
            )
            for text in reply.texts
        ),
        model=reply.model,
    )


def upsert(reply: document_pb2.UpsertResponse) -> UpsertResult:
    results = list(enumerate(reply.results))
    return UpsertResult(
        errors={at: error_from_status(r.error) for at, r in results if r.HasField("error")},
        applied=reply.applied,
        sequence=reply.sequence,
        truncated=tuple(at for at, r in results if r.truncated),
        capped=tuple(at for at, r in results if r.capped),
        timings=timings(reply.timings),
        repeated=reply.repeated,
        fingerprint=reply.fingerprint,
        execution=execution(reply),
    )


def get(reply: document_pb2.GetDocumentsResponse) -> GetResult:
    return GetResult(
        documents=tuple(read_document(document) for document in reply.documents),
        missing=tuple(read_id(id) for id in reply.missing),
        sequence=reply.sequence,
    )


def delete(
    reply: document_pb2.DeleteDocumentsResponse | document_pb2.DeleteByFilterResponse,
) -> DeleteResult:
    return DeleteResult(deleted=reply.deleted, sequence=reply.sequence)


def payload(reply: document_pb2.SetPayloadResponse) -> PayloadResult:
    return PayloadResult(affected=reply.affected, sequence=reply.sequence)


def scroll(reply: document_pb2.ScrollDocumentsResponse) -> ScrollPage:
    return ScrollPage(
        documents=tuple(read_document(document) for document in reply.documents),
        next_after=read_id(reply.next_after) if reply.HasField("next_after") else None,
        sequence=reply.sequence,
        unindexed=tuple(reply.unindexed),
    )


def search(reply: search_pb2.SearchResponse) -> SearchResult:
    query = None
    if reply.HasField("query"):
        query = EncodedQuery(read_vector(reply.query.vector), tuple(reply.query.terms))
    return SearchResult(
        hits=tuple(_hit(hit) for hit in reply.hits),
        query=query,
        timings=timings(reply.timings),
        truncated=reply.truncated,
        capped=reply.capped,
        fingerprint=reply.fingerprint,
        sequence=reply.sequence,
        postings_scored=reply.postings_scored,
        unindexed=tuple(reply.unindexed),
        approximate=reply.approximate,
        missed_score=reply.missed_score if reply.HasField("missed_score") else None,
        blocks_skipped=reply.blocks_skipped,
        effort=reply.effort,
        execution=execution(reply),
        tier=_tier(reply),
    )


def _tier(reply: search_pb2.SearchResponse | search_pb2.ExplainResponse) -> AnsweringTier | None:
    """None where the collection has no ladder."""
    if not reply.HasField("tier"):
        return None
    return AnsweringTier(
        number=reply.tier.number,
        model=reply.tier.model,
        passed_over=tuple(
            PassedOver(each.model, error_from_status(each.reason))
            for each in reply.tier.passed_over
        ),
    )


def _hit(message: search_pb2.Hit) -> Hit:
    return Hit(
        id=read_id(message.id),
        score=message.score,
        payload=read_payload(message.payload),
        text=message.text if message.HasField("text") else None,
        vector=read_vector(message.vector) if message.HasField("vector") else None,
    )


def search_batch(reply: search_pb2.SearchBatchResponse) -> SearchBatchResult:
    return SearchBatchResult(
        items=tuple(
            error_from_status(result.error)
            if result.WhichOneof("result") == "error"
            else search(result.response)
            for result in reply.results
        ),
        timings=timings(reply.timings),
    )


def explain(reply: search_pb2.ExplainResponse) -> Explanation:
    return Explanation(
        id=read_id(reply.id),
        score=reply.score,
        matched=reply.matched,
        terms=_contributions(reply.terms),
        missing=_contributions(reply.missing),
        fingerprint=reply.fingerprint,
        truncated=reply.truncated,
        capped=reply.capped,
        sequence=reply.sequence,
        timings=timings(reply.timings),
        rank=reply.rank or None,
        returned=reply.returned,
        dropped_by=reply.dropped_by,
        below_threshold=reply.below_threshold,
        bar=Bar(read_id(reply.bar.id), reply.bar.score) if reply.HasField("bar") else None,
        gap=reply.gap if reply.HasField("gap") else None,
        closing=tuple(map(_term_gap, reply.closing)),
        unindexed=tuple(reply.unindexed),
        execution=execution(reply),
        query_sources=_source_state(reply.query_sources),
        document_sources=_source_state(reply.document_sources),
        tier=_tier(reply),
    )


def _source_state(number: int) -> SourceState | None:
    """None where the gateway does not tell."""
    states: tuple[SourceState, ...] = get_args(SourceState)
    return states[number - 1] if 0 < number <= len(states) else None


def _query_source(message: search_pb2.TermContribution | search_pb2.TermGap) -> SourceToken | None:
    return _source(message.query_source) if message.HasField("query_source") else None


def _document_source(
    message: search_pb2.TermContribution | search_pb2.TermGap,
) -> SourceToken | None:
    return _source(message.document_source) if message.HasField("document_source") else None


def _source(message: search_pb2.SourceToken) -> SourceToken:
    return SourceToken(
        position=message.position,
        text=message.text,
        start=message.start,
        end=message.end,
        word=message.word,
    )


def _term_gap(message: search_pb2.TermGap) -> TermGap:
    return TermGap(
        term_id=message.term_id,
        term=message.term,
        query_weight=message.query_weight,
        document_weight=message.document_weight,
        bar_weight=message.bar_weight,
        difference=message.difference,
        query_source=_query_source(message),
        document_source=_document_source(message),
    )


def _contributions(
    messages: Iterable[search_pb2.TermContribution],
) -> tuple[TermContribution, ...]:
    return tuple(
        TermContribution(
            term_id=message.term_id,
            term=message.term,
            query_weight=message.query_weight,
            document_weight=message.document_weight,
            contribution=message.contribution,
            query_source=_query_source(message),
            document_source=_document_source(message),
        )
        for message in messages
    )
