"""What goes into a collection and what comes out of it."""

from __future__ import annotations

from typing import NamedTuple

from sparsegate_server.types import DocumentId, Payload, SparseVector


class Record(NamedTuple):
    """What a document carries besides its vector. A payload is kept by reference: whoever hands
    it over, or gets it back, leaves it as it is."""

    text: str | None
    payload: Payload


class Entry(NamedTuple):
    """A whole document."""

    id: DocumentId
    vector: SparseVector
    record: Record


class Match(NamedTuple):
    """`score` is a float32, as a Python float that holds it exactly."""

    id: DocumentId
    score: float


class Ranking(NamedTuple):
    """The best documents as of `sequence`, best first; ties by ascending id.

    Attributes:
        entries: parallel to `matches` if asked for, else empty.
        postings_scored: how many stored weights were read.
    """

    matches: list[Match]
    entries: list[Entry]
    sequence: int
    postings_scored: int


class Written(NamedTuple):
    """`affected`: how many of the written documents existed before."""

    sequence: int
    affected: int


class Fetched(NamedTuple):
    """Entries by id, parallel to the ids asked for; None where there is no such document."""

    entries: list[Entry | None]
    sequence: int


class Slice(NamedTuple):
    """Entries in ascending id order, and whether there are more after them."""

    entries: list[Entry]
    more: bool
    sequence: int


class Size(NamedTuple):
    """A collection in numbers; `postings` counts the weights of `tombstones` too."""

    sequence: int
    documents: int
    segments: int
    postings: int
    tombstones: int
