"""Changes of payloads from their messages."""

from __future__ import annotations

from sparsegate.v1 import document_pb2
from sparsegate_server.errors import InvalidRequest
from sparsegate_server.operations import PayloadChange, PayloadMode
from sparsegate_server.rpc.convert import check_payload, payload_from
from sparsegate_server.settings import Limits

_MODES = {
    document_pb2.PAYLOAD_MODE_MERGE: PayloadMode.MERGE,
    document_pb2.PAYLOAD_MODE_REPLACE: PayloadMode.REPLACE,
    document_pb2.PAYLOAD_MODE_REMOVE: PayloadMode.REMOVE,
}


def change_from(request: document_pb2.SetPayloadRequest, limits: Limits) -> PayloadChange:
    """What a request changes.

    Raises:
        InvalidRequest: it names what its mode does not use, or lacks what its mode needs.
        InvalidDocument: the payload is too large or too deep.
    """
    mode = _MODES[request.mode]
    removes = mode is PayloadMode.REMOVE
    if removes and request.payload:
        raise InvalidRequest("is for other modes: REMOVE takes `keys`", field="payload")
    if not removes and request.keys:
        raise InvalidRequest("is for REMOVE: other modes take `payload`", field="keys")
    if removes and not request.keys:
        raise InvalidRequest("is empty: name the fields to remove", field="keys")
    if mode is PayloadMode.MERGE and not request.payload:
        raise InvalidRequest("is empty: give the fields to set", field="payload")
    check_payload(request.payload, limits)
    return PayloadChange(mode, payload_from(request.payload), tuple(request.keys))
