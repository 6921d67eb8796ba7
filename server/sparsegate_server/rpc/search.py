"""SearchService."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sparsegate.v1 import effort_pb2, search_pb2, search_pb2_grpc
from sparsegate_server.errors import SparsegateError
from sparsegate_server.operations import Found as Document
from sparsegate_server.rpc import call as calls
from sparsegate_server.rpc import convert, selection
from sparsegate_server.rpc.efforts import calibration_to, queries_from, with_effort
from sparsegate_server.rpc.explanation import explanation_to
from sparsegate_server.rpc.identity import execution_to
from sparsegate_server.rpc.ids import id_from, id_to
from sparsegate_server.rpc.interceptor import Context, offload
from sparsegate_server.rpc.options import clauses_of, options_from
from sparsegate_server.rpc.sizes import check_size
from sparsegate_server.rpc.status import to_status
from sparsegate_server.rpc.tiers import tier_to
from sparsegate_server.search.query import Found, QueryPlan, SearchJob
from sparsegate_server.search.resolve import Resolved
from sparsegate_server.search.timing import Timings
from sparsegate_server.settings import Limits

DEFAULT_LIMIT = 10
"""Hits of the search that an explanation is about, or that is calibrated, where it does not say."""

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
        job = self._search(request, self._limits.max_reply_bytes)
        with clauses_of(request, job.options).blaming():
            found = await self._plan.search(job, timings=call.timings, caller=call.caller)
        return await _build(found, request, call.timings)

    async def SearchBatch(
        self, request: search_pb2.SearchBatchRequest, context: Context
    ) -> search_pb2.SearchBatchResponse:
        check_size("searches", len(request.searches), self._limits.max_searches)
        call = calls.current()
        share = self._limits.max_reply_bytes // max(1, len(request.searches))
        jobs = [
            self._item(at, item, call.item_errors, share)
            for at, item in enumerate(request.searches)
        ]
        outcomes = await self._plan.search_batch(jobs, timings=call.timings, caller=call.caller)
        reply = search_pb2.SearchBatchResponse()
        items = zip(request.searches, jobs, outcomes, strict=True)
        for at, (item, job, outcome) in enumerate(items):
            if isinstance(outcome, SparsegateError):
                error = _blamed(item, job, outcome)
                reply.results.add(error=to_status(error.under(f"searches[{at}]")))
            else:
                reply.results.add(response=await _build(outcome, item, None))
        reply.timings.CopyFrom(convert.timings_to(call.timings))
        return reply

    async def Explain(
        self, request: search_pb2.ExplainRequest, context: Context
    ) -> search_pb2.ExplainResponse:
        call = calls.current()
        job = self._explained(request)
        clauses = clauses_of(request, job.options)
        with clauses.blaming():
            done = await self._plan.explain(
                job, id_from(request.id), timings=call.timings, caller=call.caller
            )
        reply = explanation_to(done, clauses)
        reply.timings.CopyFrom(convert.timings_to(call.timings))
        return reply

    async def CalibrateEffort(
        self, request: effort_pb2.CalibrateEffortRequest, context: Context
    ) -> effort_pb2.CalibrateEffortResponse:
        check_size("limit", request.limit, self._limits.max_limit)
        limit = self._default(request.limit)
        call = calls.current()
        queries = await offload(request.ByteSize(), queries_from, request, self._limits)
        done = await self._plan.calibrate(queries, limit, timings=call.timings, caller=call.caller)
        return effort_pb2.CalibrateEffortResponse(calibration=calibration_to(done))

    def _search(self, request: search_pb2.SearchRequest, max_bytes: int) -> SearchJob:
        options = options_from(request, request.limit, self._limits)
        chosen = replace(
            with_effort(options, request.effort),
            select=selection.of_search(request),
            max_bytes=max_bytes,
        )
        return SearchJob(convert.query_from(request, self._limits), chosen)

    def _explained(self, request: search_pb2.ExplainRequest) -> SearchJob:
        limit = self._default(request.limit)
        options = options_from(request, limit, self._limits)
        return SearchJob(convert.query_from(request, self._limits), options)

    def _default(self, limit: int) -> int:
        return limit or min(DEFAULT_LIMIT, self._limits.max_limit)

    def _item(
        self,
        at: int,
        request: search_pb2.SearchRequest,
        broken: Mapping[int, SparsegateError],
        max_bytes: int,
    ) -> SearchJob | SparsegateError:
        try:
            return broken.get(at) or self._search(request, max_bytes)
        except SparsegateError as error:
            return error


def _blamed(
    request: search_pb2.SearchRequest, job: SearchJob | SparsegateError, error: SparsegateError
) -> SparsegateError:
    """The error of one search of a batch; those of its own form name their fields already."""
    if isinstance(job, SparsegateError):
        return error
    return clauses_of(request, job.options).blame(error)


async def _build(
    found: Found, request: search_pb2.SearchRequest, timings: Timings | None
) -> search_pb2.SearchResponse:
    """The reply; a long one is built in a thread."""
    size = 0 if len(found.result.ids) <= _SMALL_LIMIT else 1 << 30
    reply = await offload(size, _response, found, request)
    if timings is not None:
        reply.timings.CopyFrom(convert.timings_to(timings))
    return reply


def _response(found: Found, request: search_pb2.SearchRequest) -> search_pb2.SearchResponse:
    query, result = found.query, found.result
    fingerprint = query.answering.fingerprint
    reply = search_pb2.SearchResponse(
        truncated=query.truncated,
        capped=query.capped,
        fingerprint=fingerprint,
        sequence=result.sequence,
        postings_scored=result.postings_scored,
        unindexed=result.unindexed,
        approximate=result.approximate,
        missed_score=result.missed_score,
        blocks_skipped=result.blocks_skipped,
        effort=result.effort,
        execution=execution_to(query.execution) if query.execution else None,
        tier=tier_to(query),
    )
    for at, (id, score) in enumerate(zip(result.ids, result.scores, strict=True)):
        message = reply.hits.add(id=id_to(id), score=score)
        if result.documents:
            _fill(message, result.documents[at], fingerprint)
    if request.with_query:
        reply.query.CopyFrom(_encoded_query(query, fingerprint))
    return reply


def _fill(message: search_pb2.Hit, document: Document, fingerprint: str) -> None:
    """Adds the parts of a hit's document that were selected."""
    convert.payload_to(document.payload, message.payload)
    if document.text is not None:
        message.text = document.text
    if document.vector is not None:
        message.vector.CopyFrom(convert.vector_to(document.vector, fingerprint))


def _encoded_query(query: Resolved, fingerprint: str) -> search_pb2.EncodedQuery:
    return search_pb2.EncodedQuery(
        vector=convert.vector_to(query.vector, fingerprint),
        terms=[query.term(int(t)) for t in query.vector.indices],
    )
