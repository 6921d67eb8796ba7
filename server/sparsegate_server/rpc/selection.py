"""Which parts of documents a request asks for."""

from __future__ import annotations

from sparsegate.v1 import document_pb2, search_pb2
from sparsegate_server.operations import Selection


def of_read(
    request: document_pb2.GetDocumentsRequest | document_pb2.ScrollDocumentsRequest,
) -> Selection:
    """Texts and payloads come unless they are declined, vectors only when asked for."""
    return Selection(
        text=request.with_text if request.HasField("with_text") else True,
        payload=request.with_payload if request.HasField("with_payload") else True,
        vector=request.with_vector,
        include=frozenset(request.payload_include),
        exclude=frozenset(request.payload_exclude),
    )


def of_search(request: search_pb2.SearchRequest) -> Selection:
    """Nothing comes unless it is asked for; naming payload fields asks for payloads."""
    fields = bool(request.payload_include or request.payload_exclude)
    return Selection(
        text=request.with_text,
        payload=request.with_payload or fields,
        vector=request.with_vector,
        include=frozenset(request.payload_include),
        exclude=frozenset(request.payload_exclude),
    )
