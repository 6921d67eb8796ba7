"""Messages to plain values and back. Nothing here knows what the values are for."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import numpy as np

from sparsegate.v1 import common_pb2, effort_pb2, search_pb2
from sparsegate_server.encoders.base import OnTruncation
from sparsegate_server.errors import InvalidDocument, InvalidRequest
from sparsegate_server.operations import Found
from sparsegate_server.rpc.ids import id_from, id_to
from sparsegate_server.search.ingest import Draft
from sparsegate_server.search.resolve import Query
from sparsegate_server.search.timing import Timings
from sparsegate_server.search.vectors import RawVector
from sparsegate_server.settings import Limits
from sparsegate_server.types import Payload, PayloadValue, SparseVector


def vector_from(message: common_pb2.SparseVector) -> RawVector:
    return RawVector(
        np.fromiter(message.indices, np.uint32, len(message.indices)),
        np.fromiter(message.values, np.float32, len(message.values)),
        message.fingerprint,
    )


def vector_to(vector: SparseVector, fingerprint: str) -> common_pb2.SparseVector:
    return common_pb2.SparseVector(
        indices=vector.indices.tolist(), values=vector.values.tolist(), fingerprint=fingerprint
    )


def value_from(message: common_pb2.Value) -> PayloadValue:
    kind = message.WhichOneof("kind")
    if kind == "list_value":
        return [value_from(item) for item in message.list_value.values]
    if kind == "map_value":
        return payload_from(message.map_value.fields)
    if kind is None or kind == "null_value":
        return None
    plain: bool | int | float | str = getattr(message, kind)
    return plain


def payload_from(fields: Mapping[str, common_pb2.Value]) -> Payload:
    return {key: value_from(value) for key, value in fields.items()}


def value_to(value: PayloadValue, message: common_pb2.Value) -> None:
    """Fills a message; bool comes before int, because Python's bool is an int."""
    match value:
        case None:
            message.null_value = common_pb2.NULL_VALUE_UNSPECIFIED
        case bool():
            message.bool_value = value
        case int():
            message.int_value = value
        case float():
            message.double_value = value
        case str():
            message.string_value = value
        case list():
            message.list_value.SetInParent()
            for item in value:
                value_to(item, message.list_value.values.add())
        case dict():
            message.map_value.SetInParent()
            payload_to(value, message.map_value.fields)


def payload_to(payload: Payload, fields: MutableMapping[str, common_pb2.Value]) -> None:
    for key, value in payload.items():
        value_to(value, fields[key])


def on_truncation_from(value: common_pb2.OnTruncation.ValueType) -> OnTruncation:
    if value == common_pb2.ON_TRUNCATION_ERROR:
        return OnTruncation.ERROR
    return OnTruncation.FLAG


def draft_from(message: common_pb2.Document, limits: Limits) -> Draft:
    """Raises InvalidRequest or InvalidDocument: a text or a payload over its limit."""
    check_text(message.text, limits)
    check_payload(message.payload, limits)
    return Draft(
        id=id_from(message.id),
        text=message.text if message.HasField("text") else None,
        vector=vector_from(message.vector) if message.HasField("vector") else None,
        payload=payload_from(message.payload),
    )


def check_text(text: str, limits: Limits) -> None:
    """Raises InvalidRequest: more bytes than allowed."""
    size = len(text.encode())
    if size > limits.max_text_bytes:
        raise InvalidRequest(
            f"has {size} bytes, more than the {limits.max_text_bytes} allowed", field="text"
        )


def check_payload(payload: Mapping[str, common_pb2.Value], limits: Limits) -> None:
    """Raises InvalidDocument: the payload is too large or too deep."""
    size = sum(len(key.encode()) + value.ByteSize() for key, value in payload.items())
    if size > limits.max_payload_bytes:
        raise InvalidDocument(
            f"has {size} bytes, more than the {limits.max_payload_bytes} allowed", field="payload"
        )
    for key, value in payload.items():
        if depth(value) > limits.max_payload_depth:
            raise InvalidDocument(
                f"is nested more than {limits.max_payload_depth} deep", field=f'payload["{key}"]'
            )


def depth(value: common_pb2.Value) -> int:
    """Lists and maps inside one another; a plain value has depth 0."""
    match value.WhichOneof("kind"):
        case "list_value":
            return 1 + max(map(depth, value.list_value.values), default=0)
        case "map_value":
            return 1 + max(map(depth, value.map_value.fields.values()), default=0)
        case _:
            return 0


def document_to(document: Found, message: common_pb2.Document, fingerprint: str) -> None:
    """Fills a message with the parts that were selected."""
    message.id.CopyFrom(id_to(document.id))
    if document.text is not None:
        message.text = document.text
    if document.vector is not None:
        message.vector.CopyFrom(vector_to(document.vector, fingerprint))
    payload_to(document.payload, message.payload)


def query_from(
    message: search_pb2.SearchRequest | search_pb2.ExplainRequest, limits: Limits
) -> Query:
    """Raises InvalidRequest: a text over its limit."""
    on_truncation = on_truncation_from(message.on_truncation)
    tier = message.tier if message.HasField("tier") else None
    return Query(message.collection, content_from(message, limits), on_truncation, tier)


def content_from(
    message: search_pb2.SearchRequest | search_pb2.ExplainRequest | effort_pb2.CalibrationQuery,
    limits: Limits,
) -> str | RawVector:
    """Raises InvalidRequest: a text over its limit."""
    check_text(message.text, limits)
    return message.text if message.WhichOneof("query") == "text" else vector_from(message.vector)


def timings_to(timings: Timings) -> common_pb2.StageTimings:
    stages = {f"{stage}_ms": seconds * 1e3 for stage, seconds in timings.stages().items()}
    return common_pb2.StageTimings(**stages, total_ms=timings.total() * 1e3)
