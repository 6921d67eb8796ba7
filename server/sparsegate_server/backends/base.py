"""The one protocol that all index backends meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sparsegate_server.errors import SparsegateError
from sparsegate_server.filters import Condition, FieldKind, Filter
from sparsegate_server.operations import (
    WHOLE,
    Calibration,
    Counted,
    Counts,
    Document,
    Fetched,
    Page,
    PayloadChange,
    SearchOptions,
    SearchResult,
    Selection,
    Standing,
    StreamBatch,
    Target,
    WriteResult,
)
from sparsegate_server.types import DocumentId, SparseVector


@dataclass(frozen=True, slots=True)
class Tier:
    """A model whose vectors a collection holds.

    Attributes:
        model: name of the model that encodes the texts.
        fingerprint: identity of that model; vectors of any other are refused.
        vocabulary_size: term ids are below it.
        identity: what that fingerprint is of, as JSON has it; None where an older version made the
            collection.
        precision: in which that model ran when the collection was created; "" where an older
            version made it.
        inference: the backend that the model ran on then, likewise.
    """

    model: str
    fingerprint: str
    vocabulary_size: int
    identity: dict[str, Any] | None = None
    precision: str = ""
    inference: str = ""


@dataclass(frozen=True, slots=True)
class CollectionConfig:
    """What is fixed when a collection is created.

    Attributes:
        name: unique among collections and aliases.
        own: its own model.
        shards: number of parts, by hash of the document id.
        keep_text: whether texts are stored once they are encoded.
        ladder: further models, each of which has vectors of its own of every document. The first
            that can encode a question answers it where those before it cannot.
    """

    name: str
    own: Tier
    shards: int = 1
    keep_text: bool = True
    ladder: tuple[Tier, ...] = ()

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """All models, the own one first; tier 0 is the first."""
        return (self.own, *self.ladder)


@dataclass(frozen=True, slots=True)
class PayloadIndex:
    """A declared index of a payload field; filters use it once it is `ready`."""

    field: str
    kind: FieldKind
    ready: bool


@dataclass(frozen=True, slots=True)
class CollectionStats:
    """A collection and its size at one sequence number.

    Attributes:
        documents: live documents.
        segments: immutable parts, all shards together.
        tail: documents not yet sealed into a segment, dead ones included.
        postings: stored term weights, those of dead documents included.
        tombstones: dead documents not yet merged away.
        index_bytes: of the index's files.
        store_bytes: of the store's files.
        busy: whether sealing, merging or indexing is under way.
        problem: why background work fails, "" while it does not.
        calibration: how much effort a recall takes, where that was measured.
    """

    config: CollectionConfig
    sequence: int
    documents: int
    segments: int
    tail: int
    postings: int
    tombstones: int
    index_bytes: int
    store_bytes: int
    busy: bool = False
    problem: str = ""
    payload_indexes: tuple[PayloadIndex, ...] = ()
    aliases: tuple[str, ...] = ()
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name of a collection."""

    alias: str
    collection: str


@dataclass(frozen=True, slots=True)
class AliasChange:
    """Points `alias` to `collection`, whatever it was before; None removes it."""

    alias: str
    collection: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An archive of one collection at one sequence number; `created` in seconds since 1970."""

    name: str
    collection: str
    sequence: int
    documents: int
    bytes: int
    created: float


class IndexBackend(Protocol):
    """Keeps collections. Every method that takes a collection's name takes an alias as well, and
    raises CollectionNotFound.

    Encoding takes time, in which a collection can be deleted and another one made under its name.
    Whoever passes the `config` that the vectors were made for is told CollectionNotFound then.

    A write is durable and visible when its method returns. It is applied as a whole or not at all.
    `request_id`: a write with the id of an earlier one, kept for some ten thousand writes, is not
    applied again; the earlier result comes back. An id that was used for another kind of write, or
    for other documents, is refused (InvalidRequest).

    Filters raise UnindexedFilter when they would have to read more documents than allowed here.
    """

    async def create_collection(self, config: CollectionConfig) -> CollectionStats:
        """Raises CollectionExists when the name is taken, by an alias too."""
        ...

    async def get_collection(self, name: str) -> CollectionStats: ...

    async def list_collections(self) -> list[CollectionStats]:
        """By name. A collection that cannot be read is left out; see `problems`."""
        ...

    def problems(self) -> dict[str, str]:
        """Why collections cannot be read, by name."""
        ...

    def states(self) -> dict[str, str]:
        """What is wrong with every collection, readable or not; "" where nothing is."""
        ...

    async def delete_collection(self, name: str) -> None:
        """Deletes it, with the aliases that point to it. Takes no alias."""
        ...

    def config(self, name: str) -> CollectionConfig:
        """What was fixed at creation, without waiting."""
        ...

    def counts(self, name: str) -> Counts:
        """What is known of a collection, without waiting."""
        ...

    async def optimize(self, name: str) -> CollectionStats:
        """Seals the tail, merges each shard to one segment, drops what is dead. Waits for it."""
        ...

    async def update_aliases(self, changes: Sequence[AliasChange]) -> list[Alias]:
        """Applies all changes at once or none; returns all aliases.

        Raises:
            CollectionExists: an alias has the name of a collection.
            CollectionNotFound: an alias would point to no collection.
        """
        ...

    async def list_aliases(self) -> list[Alias]:
        """By alias."""
        ...

    async def upsert(
        self,
        name: str,
        documents: Sequence[Document],
        *,
        request_id: str = "",
        batch: StreamBatch | None = None,
        config: CollectionConfig | None = None,
    ) -> WriteResult:
        """Inserts or replaces whole documents, all of them at one sequence number. The last of
        several with one id wins. A batch whose number is not above the last one of its stream was
        applied before."""
        ...

    async def stream_position(self, name: str, stream: str) -> int:
        """Number of the last applied batch of a stream; 0 if there is none."""
        ...

    async def delete(self, name: str, target: Target, *, request_id: str = "") -> WriteResult: ...

    async def set_payload(
        self, name: str, target: Target, change: PayloadChange, *, request_id: str = ""
    ) -> WriteResult:
        """Changes payloads, all of them at one sequence number."""
        ...

    async def get(
        self,
        name: str,
        ids: Sequence[DocumentId],
        *,
        select: Selection = WHOLE,
        max_bytes: int = 0,
    ) -> Fetched:
        """Raises ReplyTooLarge: more than `max_bytes`, which 0 does not bind."""
        ...

    async def scroll(
        self,
        name: str,
        *,
        after: DocumentId | None,
        limit: int,
        filter: Filter | None = None,
        select: Selection = WHOLE,
        max_bytes: int = 0,
    ) -> Page:
        """A page has fewer documents than `limit` where `max_bytes` are not enough for more."""
        ...

    async def count(self, name: str, filter: Filter | None = None) -> Counted: ...

    async def create_payload_index(self, name: str, field: str, kind: FieldKind) -> WriteResult:
        """Declares an index and returns; it is built in the background and becomes ready at once
        for the whole collection.

        Raises:
            InvalidRequest: the field cannot be parsed, or has an index of another kind.
        """
        ...

    async def delete_payload_index(self, name: str, field: str) -> WriteResult:
        """`affected` is 0 if there was none."""
        ...

    async def search(
        self,
        name: str,
        query: SparseVector,
        options: SearchOptions,
        *,
        config: CollectionConfig | None = None,
    ) -> SearchResult:
        """The best documents: exactly, or with the effort that the options ask for.

        The score of a document is float32(Σ float64(query weight) · float64(document weight)),
        added one at a time in ascending term id. A hit shares at least one term with the query.
        Ties go to the smaller id. The same bits for any number of shards and segments.

        Raises:
            ReplyTooLarge: the selected parts of the hits are more than `options.max_bytes`.
            NotCalibrated: a target recall, but nobody measured what effort it takes.
        """
        ...

    async def search_batch(
        self,
        name: str,
        searches: Sequence[tuple[SparseVector, SearchOptions]],
        *,
        config: CollectionConfig | None = None,
    ) -> list[SearchResult | SparsegateError]:
        """What `search` finds for each, in order, all as of one instant. An error stands in the
        place of a search that failed, and leaves the others alone."""
        ...

    async def calibrate(
        self,
        name: str,
        queries: Sequence[SparseVector],
        limit: int,
        *,
        config: CollectionConfig | None = None,
    ) -> Calibration:
        """Measures how much effort a recall takes, and keeps that with the collection, in the place
        of what was measured before. Given up when the caller is cancelled.

        Raises:
            InvalidRequest: too few of the queries find anything.
        """
        ...

    async def explain(
        self,
        name: str,
        query: SparseVector,
        id: DocumentId,
        options: SearchOptions,
        *,
        config: CollectionConfig | None = None,
    ) -> Standing:
        """Where a document stands in a search with these options.

        Raises:
            DocumentNotFound
        """
        ...

    async def create_snapshot(self, name: str) -> Snapshot: ...

    async def list_snapshots(self, name: str) -> list[Snapshot]:
        """The newest first."""
        ...

    async def delete_snapshot(self, name: str, snapshot: str) -> None:
        """Raises SnapshotNotFound."""
        ...

    async def snapshot_path(self, name: str, snapshot: str) -> Path:
        """The archive file. Raises SnapshotNotFound."""
        ...

    async def restore_snapshot(self, name: str, archive: Path) -> CollectionStats:
        """Makes a new collection of that name from an archive.

        Raises:
            CollectionExists: the name is taken: restore beside, then switch the alias.
            SnapshotRefused: the archive is damaged, too large, or not one of ours.
        """
        ...

    async def close(self) -> None: ...


def with_required(filter: Filter | None, required: Sequence[Condition]) -> Filter | None:
    """`filter` and all of `required`."""
    if not required:
        return filter
    return Filter(must=(*((filter,) if filter else ()), *required))
