"""The few values that only the engine knows."""

from __future__ import annotations

from typing import NamedTuple

from sparsegate_server.types import Payload


class Record(NamedTuple):
    """What a document carries besides its id and its vector. A payload is kept by reference:
    whoever hands it over, or gets it back, leaves it as it is."""

    text: str | None
    payload: Payload


class Size(NamedTuple):
    """A collection in numbers.

    Attributes:
        tail: documents that are not sealed yet, dead ones included.
        postings: stored weights, those of `tombstones` included.
        index_bytes, store_bytes: of the files.
    """

    sequence: int
    documents: int
    segments: int
    tail: int
    postings: int
    tombstones: int
    index_bytes: int
    store_bytes: int
