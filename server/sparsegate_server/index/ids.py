"""Document ids as bytes whose order is the order of ids, and the shard that each belongs to.

An unsigned 64-bit integer becomes 0x00 and its eight bytes, the most significant first; a string
becomes 0x01 and its UTF-8 bytes. So integers come before strings, integers compare as numbers,
strings by their UTF-8 bytes (which is code point order), and 5 and "5" are two documents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sparsegate_server.errors import InvalidRequest
from sparsegate_server.types import DocumentId

MAX_INTEGER = 2**64 - 1
MAX_STRING_BYTES = 256

_INTEGER = b"\x00"
_STRING = b"\x01"


def encode(document_id: DocumentId, field: str = "id") -> bytes:
    """The order-preserving bytes of an id.

    Args:
        field: path of the id in the request, for the error.

    Raises:
        InvalidRequest: not an integer of 0 to 2^64-1 or a string of 1 to 256 UTF-8 bytes.
    """
    # A bool is an int to Python, but true is no id.
    if isinstance(document_id, int) and not isinstance(document_id, bool):
        if not 0 <= document_id <= MAX_INTEGER:
            raise InvalidRequest(
                f"integer id {document_id} is outside 0 to 2^64-1: send it as a string",
                field=field,
            )
        return _INTEGER + document_id.to_bytes(8, "big")
    if isinstance(document_id, str):
        try:
            text = document_id.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                "a string id must be valid Unicode: it holds a lone surrogate", field=field
            ) from error
        if not 1 <= len(text) <= MAX_STRING_BYTES:
            raise InvalidRequest(
                f"a string id has 1 to {MAX_STRING_BYTES} bytes in UTF-8, not {len(text)}",
                field=field,
            )
        return _STRING + text
    raise InvalidRequest(
        f"an id is an unsigned integer or a string, not {type(document_id).__name__}", field=field
    )


def encode_all(document_ids: Iterable[DocumentId], field: str) -> list[bytes]:
    """The bytes of several ids.

    Args:
        field: path of the list in the request.
    """
    return [encode(each, f"{field}[{number}]") for number, each in enumerate(document_ids)]


def decode(key: bytes) -> DocumentId:
    """The id whose bytes `key` is."""
    if key[:1] == _INTEGER:
        return int.from_bytes(key[1:], "big")
    return key[1:].decode()


def shard_of(key: bytes, shards: int) -> int:
    """The shard, 0 to `shards` - 1, of the document with this key.

    The hash is BLAKE2b with eight bytes of digest, read big endian. It decides where documents
    lie on disk and must never change.
    """
    if shards == 1:
        return 0
    digest = hashlib.blake2b(key, digest_size=8).digest()
    return int.from_bytes(digest, "big") * shards >> 64
