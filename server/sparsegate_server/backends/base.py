"""The one protocol that all index backends meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sparsegate_server.types import DocumentId, Payload, SparseVector


@dataclass(frozen=True, slots=True)
class CollectionConfig:
    """What is fixed when a collection is created.

    Attributes:
        name: unique among collections.
        model: name of the model that encodes its texts.
        fingerprint: identity of that model; vectors of any other are refused.
        vocabulary_size: term ids are below it.
        shards: number of parts, by hash of the document id.
    """

    name: str
    model: str
    fingerprint: str
    vocabulary_size: int
    shards: int = 1


@dataclass(frozen=True, slots=True)
class CollectionStats:
    """A collection and its size at one sequence number.

    Attributes:
        documents: live documents.
        segments: immutable parts, all shards together.
        postings: stored term weights, those of dead documents included.
        tombstones: dead documents not yet merged away.
    """

    config: CollectionConfig
    sequence: int
    documents: int
    segments: int
    postings: int
    tombstones: int


@dataclass(frozen=True, slots=True)
class Document:
    id: DocumentId
    vector: SparseVector
    text: str | None = None
    payload: Payload = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """A found document and its score: float32, as a Python float that holds it exactly."""

    id: DocumentId
    score: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Hits by descending score, ties by ascending id, all as of `sequence`.

    Attributes:
        documents: parallel to `hits` when the caller asked for documents, else empty.
        postings_scored: how many stored weights were read.
    """

    hits: tuple[Hit, ...]
    sequence: int
    postings_scored: int
    documents: tuple[Document, ...] = ()


@dataclass(frozen=True, slots=True)
class WriteResult:
    """`sequence`: the write is visible to every read that pins this number or a later one.
    `affected`: how many documents existed before (replaced or deleted)."""

    sequence: int
    affected: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """Documents by id, parallel to the ids asked for; None where there is no such document."""

    documents: tuple[Document | None, ...]
    sequence: int


@dataclass(frozen=True, slots=True)
class Page:
    """Documents in ascending id order; `next_after` goes into the next call, None at the end."""

    documents: tuple[Document, ...]
    next_after: DocumentId | None
    sequence: int


class IndexBackend(Protocol):
    """Keeps collections. Every method that takes a collection's name raises CollectionNotFound.

    Encoding takes time, in which a collection can be deleted and another one made under its name.
    Whoever passes the `config` that the vectors were made for is told CollectionNotFound then.
    """

    async def create_collection(self, config: CollectionConfig) -> CollectionStats:
        """Raises CollectionExists when the name is taken."""
        ...

    async def get_collection(self, name: str) -> CollectionStats: ...

    async def list_collections(self) -> list[CollectionStats]:
        """By name."""
        ...

    async def delete_collection(self, name: str) -> None: ...

    def config(self, name: str) -> CollectionConfig:
        """What was fixed at creation, without waiting."""
        ...

    async def upsert(
        self, name: str, documents: Sequence[Document], *, config: CollectionConfig | None = None
    ) -> WriteResult:
        """Inserts or replaces whole documents, all of them at one sequence number. The last of
        several with one id wins."""
        ...

    async def delete(self, name: str, ids: Sequence[DocumentId]) -> WriteResult:
        """Deletes documents; unknown ids are passed over."""
        ...

    async def get(self, name: str, ids: Sequence[DocumentId]) -> Fetched: ...

    async def scroll(self, name: str, *, after: DocumentId | None, limit: int) -> Page: ...

    async def search(
        self,
        name: str,
        query: SparseVector,
        *,
        limit: int,
        with_documents: bool = False,
        config: CollectionConfig | None = None,
    ) -> SearchResult:
        """The exact `limit` best documents.

        The score of a document is float32(Σ float64(query weight) · float64(document weight)),
        added one at a time in ascending term id. A hit shares at least one term with the query.
        Ties go to the smaller id. The same bits for any number of shards and segments.
        """
        ...

    async def close(self) -> None: ...
