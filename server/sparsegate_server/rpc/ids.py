"""Document ids to and from their messages."""

from __future__ import annotations

from sparsegate.v1 import common_pb2
from sparsegate_server.types import DocumentId


def id_from(message: common_pb2.DocumentId) -> DocumentId:
    return message.name if message.WhichOneof("id") == "name" else message.number


def id_to(id: DocumentId) -> common_pb2.DocumentId:
    if isinstance(id, str):
        return common_pb2.DocumentId(name=id)
    return common_pb2.DocumentId(number=id)
