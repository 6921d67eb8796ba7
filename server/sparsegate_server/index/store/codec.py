"""Documents to the bytes of the store and back.

A vector is a byte with the size of a term id (2 or 4), the term ids, then the float32 weights, all
little endian. A payload is JSON, whose integers are exact and whose floats round-trip.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Final
from zlib import crc32

import numpy as np

from sparsegate_server.errors import InvalidDocument
from sparsegate_server.index.forward import Forward, indptr_of
from sparsegate_server.types import Payload

_WEIGHT_BYTES: Final = 4
_CHECKSUMS: Final = struct.Struct("<4I")
# Sorted, because the same message gives its fields in another order to another process, and a
# retried request must be known again.
_encoder: Final = json.JSONEncoder(
    ensure_ascii=False,
    allow_nan=False,
    separators=(",", ":"),
    check_circular=False,
    sort_keys=True,
)


def write_payload(payload: Payload) -> bytes:
    """The same for all payloads that are equal.

    Raises:
        InvalidDocument: a value that JSON cannot say (a NaN, a lone surrogate).
    """
    if not payload:
        return b"{}"
    try:
        return _encoder.encode(payload).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidDocument(f"cannot be written as JSON: {error}", field="payload") from error


def write_text(text: str) -> bytes:
    """Raises InvalidDocument: it holds a lone surrogate, so that UTF-8 cannot carry it."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidDocument("is not valid Unicode", field="text") from error


def read_payload(stored: bytes) -> Payload:
    """Raises ValueError, RecursionError: bytes that are no payload."""
    if stored == b"{}":
        return {}
    payload: Payload = json.loads(stored)
    if not isinstance(payload, dict):
        raise ValueError("a payload that is no JSON object")
    return payload


def write_vectors(forward: Forward) -> list[bytes]:
    """The stored form of every row."""
    width = forward.terms.dtype.itemsize
    terms, weights = forward.terms.tobytes(), forward.weights.tobytes()
    head = bytes([width])
    bounds = forward.indptr.tolist()
    return [
        head + terms[width * start : width * stop] + weights[4 * start : 4 * stop]
        for start, stop in pairwise(bounds)
    ]


def read_vectors(stored: Sequence[bytes]) -> Forward:
    """Rows from their stored form, all with term ids of one size.

    Raises:
        ValueError: bytes that are no vector.
    """
    if not stored:
        raise ValueError("no vectors")
    width = stored[0][0] if stored[0] else 0
    sizes = np.fromiter(map(len, stored), np.int64, len(stored)) - 1
    if width not in {2, 4} or (sizes % (width + _WEIGHT_BYTES)).any() or (sizes < 0).any():
        raise ValueError("bytes that are no vector")
    lengths = sizes // (width + _WEIGHT_BYTES)
    middles = (1 + width * lengths).tolist()
    if any(each[0] != width for each in stored):
        raise ValueError("vectors of different kinds")
    terms = b"".join(each[1:middle] for each, middle in zip(stored, middles, strict=True))
    weights = b"".join(each[middle:] for each, middle in zip(stored, middles, strict=True))
    return Forward(
        indptr_of(lengths),
        np.frombuffer(terms, np.uint16 if width == 2 else np.uint32),
        np.frombuffer(weights, np.float32),
    )


def checksums(key: bytes, text: bytes | None, payload: bytes, vector: bytes) -> bytes:
    """A CRC-32 for each part of a stored document, so that whichever is read can be checked."""
    return _CHECKSUMS.pack(crc32(key), _text_sum(text), crc32(payload), crc32(vector))


def fits_text(sums: bytes, text: bytes | None) -> bool:
    return _part(sums, 1) == _text_sum(text)


def fits_payload(sums: bytes, payload: bytes) -> bool:
    return _part(sums, 2) == crc32(payload)


def _part(sums: bytes, number: int) -> int:
    """-1 if these are no checksums."""
    return _CHECKSUMS.unpack(sums)[number] if len(sums) == _CHECKSUMS.size else -1


def _text_sum(text: bytes | None) -> int:
    """A missing text differs from an empty one."""
    return 0 if text is None else crc32(text, 1)
