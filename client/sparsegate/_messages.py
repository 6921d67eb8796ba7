"""Ids, vectors and documents to and from their protobuf messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index as as_int
from typing import Any

from sparsegate._payload import check_text, read_payload, write_payload
from sparsegate.errors import InvalidArgument
from sparsegate.types import Document, DocumentId, SparseVector
from sparsegate.v1 import common_pb2 as pb

MAX_ID = 2**64 - 1


def write_id(value: DocumentId, field: str = "id") -> pb.DocumentId:
    """Raises:
    InvalidArgument: neither a string nor an unsigned 64-bit integer.
    """
    if isinstance(value, str):
        return pb.DocumentId(name=check_text(value, field))
    # Anything that can be an index is an integer, NumPy's included; booleans only seem to be.
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InvalidArgument(
            f"an id is an integer or a string, not {type(value).__name__}", field=field
        )
    number = as_int(value)
    if not 0 <= number <= MAX_ID:
        raise InvalidArgument(f"{number} is not an unsigned 64-bit integer", field=field)
    return pb.DocumentId(number=number)


def write_ids(values: Iterable[DocumentId], field: str = "ids") -> list[pb.DocumentId]:
    if isinstance(values, str):
        raise TypeError("ids is a sequence of ids: put a single one into a list")
    return [write_id(value, f"{field}[{at}]") for at, value in enumerate(values)]


def read_id(message: pb.DocumentId) -> DocumentId:
    return message.name if message.WhichOneof("id") == "name" else message.number


def write_vector(vector: SparseVector, field: str = "vector") -> pb.SparseVector:
    """Raises:
    InvalidArgument: indices that are not unsigned 32-bit integers, values that are not numbers.
    """
    message = pb.SparseVector(fingerprint=vector.fingerprint)
    try:
        message.indices.extend(_plain(vector.indices))
    except (TypeError, ValueError) as error:
        raise InvalidArgument(
            f"not unsigned 32-bit integers: {error}", field=f"{field}.indices"
        ) from None
    try:
        message.values.extend(_plain(vector.values))
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"not numbers: {error}", field=f"{field}.values") from None
    return message


def _plain(numbers: Sequence[Any]) -> Sequence[Any]:
    """An array's own `tolist` is many times faster than protobuf's walk over its elements."""
    tolist = getattr(numbers, "tolist", None)
    plain: Sequence[Any] = numbers if tolist is None else tolist()
    return plain


def read_vector(message: pb.SparseVector) -> SparseVector:
    return SparseVector(tuple(message.indices), tuple(message.values), message.fingerprint)


def write_document(document: Document, field: str = "document") -> pb.Document:
    """Raises:
    InvalidArgument: a part of it that the wire cannot carry; `field` names it.
    """
    message = pb.Document(id=write_id(document.id, f"{field}.id"))
    if document.text is not None:
        message.text = check_text(document.text, f"{field}.text")
    if document.vector is not None:
        message.vector.CopyFrom(write_vector(document.vector, f"{field}.vector"))
    write_payload(message.payload, document.payload, f"{field}.payload")
    return message


def read_document(message: pb.Document) -> Document:
    return Document(
        id=read_id(message.id),
        text=message.text if message.HasField("text") else None,
        vector=read_vector(message.vector) if message.HasField("vector") else None,
        payload=read_payload(message.payload),
    )
