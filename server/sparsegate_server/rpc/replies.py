"""Replies of DocumentService."""

from __future__ import annotations

from collections.abc import Sequence

from sparsegate.v1 import document_pb2
from sparsegate_server.errors import SparsegateError
from sparsegate_server.operations import Fetched, Page
from sparsegate_server.rpc import convert
from sparsegate_server.rpc.identity import execution_to
from sparsegate_server.rpc.ids import id_to
from sparsegate_server.rpc.status import to_status
from sparsegate_server.search.ingest import Applied, Upserted
from sparsegate_server.search.timing import Timings
from sparsegate_server.types import DocumentId


def found(
    ids: Sequence[DocumentId], fetched: Fetched, fingerprint: str
) -> document_pb2.GetDocumentsResponse:
    reply = document_pb2.GetDocumentsResponse(sequence=fetched.sequence)
    for id, document in zip(ids, fetched.documents, strict=True):
        if document is None:
            reply.missing.append(id_to(id))
        else:
            convert.document_to(document, reply.documents.add(), fingerprint)
    return reply


def page(shown: Page, fingerprint: str) -> document_pb2.ScrollDocumentsResponse:
    reply = document_pb2.ScrollDocumentsResponse(sequence=shown.sequence, unindexed=shown.unindexed)
    for document in shown.documents:
        convert.document_to(document, reply.documents.add(), fingerprint)
    if shown.next_after is not None:
        reply.next_after.CopyFrom(id_to(shown.next_after))
    return reply


def upserted(done: Upserted, timings: Timings) -> document_pb2.UpsertResponse:
    reply = document_pb2.UpsertResponse(
        sequence=done.sequence,
        applied=sum(isinstance(item, Applied) for item in done.results),
        timings=convert.timings_to(timings),
        repeated=done.repeated,
        fingerprint=done.fingerprint,
        execution=execution_to(done.execution) if done.execution else None,
    )
    for at, item in enumerate(done.results):
        result = reply.results.add()
        if isinstance(item, SparsegateError):
            result.error.CopyFrom(to_status(item.under(f"documents[{at}]")))
        else:
            result.truncated = item.truncated
            result.capped = item.capped
    return reply
