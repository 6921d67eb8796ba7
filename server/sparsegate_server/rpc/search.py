"""SearchService."""

from __future__ import annotations

from collections.abc import Mapping

from sparsegate.v1 import search_pb2, search_pb2_grpc
from sparsegate_server.errors import SparsegateError
from sparsegate_server.rpc import call as calls
from sparsegate_server.rpc import convert
from sparsegate_server.rpc.interceptor import Context, offload
from sparsegate_server.rpc.sizes import check_size
from sparsegate_server.rpc.status import to_status
from sparsegate_server.search.explain import TermContribution
from sparsegate_server.search.query import Found, QueryPlan, Resolved, SearchJob
from sparsegate_server.search.timing import Timings
from sparsegate_server.settings import Limits

_SMALL_LIMIT = 100
"""Hits up to which a reply is built on the event loop."""


class SearchServicer(search_pb2_grpc.SearchServiceServicer):
    def __init__(self, plan: QueryPlan, limits: Limits) -> None:
        self._plan = plan
        self._limits = limits

    async def Search(
        self, request: search_pb2.SearchRequest, context: Context
    ) -> search_pb2.SearchResponse:
        call = calls.current()
        found = await self._plan.search(
            self._search(request), timings=call.timings, timeout=call.timeout
        )
        return await _build(found, request, call.timings)

    async def SearchBatch(
        self, request: search_pb2.SearchBatchRequest, context: Context
    ) -> search_pb2.SearchBatchResponse:
        check_size("searches", len(request.searches), self._limits.max_searches)
        call = calls.current()
        outcomes = await self._plan.search_batch(
            [self._item(at, item, call.item_errors) for at, item in enumerate(request.searches)],
            timings=call.timings,
            timeout=call.timeout,
        )
        reply = search_pb2.SearchBatchResponse()
        for at, (item, outcome) in enumerate(zip(request.searches, outcomes, strict=True)):
            if isinstance(outcome, SparsegateError):
                reply.results.add(error=to_status(outcome.under(f"searches[{at}]")))
            else:
                reply.results.add(response=await _build(outcome, item, None))
        reply.timings.CopyFrom(convert.timings_to(call.timings))
        return reply

    async def Explain(
        self, request: search_pb2.ExplainRequest, context: Context
    ) -> search_pb2.ExplainResponse:
        call = calls.current()
        done = await self._plan.explain(
            convert.query_from(request, self._limits),
            convert.id_from(request.id),
            timings=call.timings,
            timeout=call.timeout,
        )
        return search_pb2.ExplainResponse(
            id=convert.id_to(done.id),
            score=done.explanation.score,
            matched=bool(done.explanation.terms),
            terms=map(_contribution, done.explanation.terms),
            missing=map(_contribution, done.explanation.missing),
            fingerprint=done.query.config.fingerprint,
            truncated=done.query.truncated,
            capped=done.query.capped,
            sequence=done.sequence,
            timings=convert.timings_to(call.timings),
        )

    def _search(self, request: search_pb2.SearchRequest) -> SearchJob:
        check_size("limit", request.limit, self._limits.max_limit)
        return SearchJob(
            query=convert.query_from(request, self._limits),
            limit=request.limit,
            with_documents=request.with_payload or request.with_text or request.with_vector,
        )

    def _item(
        self, at: int, request: search_pb2.SearchRequest, broken: Mapping[int, SparsegateError]
    ) -> SearchJob | SparsegateError:
        try:
            return broken.get(at) or self._search(request)
        except SparsegateError as error:
            return error


async def _build(
    found: Found, request: search_pb2.SearchRequest, timings: Timings | None
) -> search_pb2.SearchResponse:
    """The reply; a long one is built in a thread."""
    size = 0 if len(found.result.hits) <= _SMALL_LIMIT else 1 << 30
    reply = await offload(size, _response, found, request)
    if timings is not None:
        reply.timings.CopyFrom(convert.timings_to(timings))
    return reply


def _response(found: Found, request: search_pb2.SearchRequest) -> search_pb2.SearchResponse:
    query, result = found.query, found.result
    fingerprint = query.config.fingerprint
    reply = search_pb2.SearchResponse(
        truncated=query.truncated,
        capped=query.capped,
        fingerprint=fingerprint,
        sequence=result.sequence,
        postings_scored=result.postings_scored,
    )
    for at, hit in enumerate(result.hits):
        message = reply.hits.add(id=convert.id_to(hit.id), score=hit.score)
        if not result.documents:
            continue
        document = result.documents[at]
        if request.with_payload:
            convert.payload_to(document.payload, message.payload)
        if request.with_text and document.text is not None:
            message.text = document.text
        if request.with_vector:
            message.vector.CopyFrom(convert.vector_to(document.vector, fingerprint))
    if request.with_query:
        reply.query.CopyFrom(_encoded_query(query, fingerprint))
    return reply


def _encoded_query(query: Resolved, fingerprint: str) -> search_pb2.EncodedQuery:
    return search_pb2.EncodedQuery(
        vector=convert.vector_to(query.vector, fingerprint),
        terms=[query.encoder.term(int(t)) for t in query.vector.indices],
    )


def _contribution(row: TermContribution) -> search_pb2.TermContribution:
    return search_pb2.TermContribution(
        term_id=row.term_id,
        term=row.term,
        query_weight=row.query_weight,
        document_weight=row.document_weight,
        contribution=row.contribution,
    )
