"""The engine of this process as an index backend: collections in a data folder, work in threads."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from sparsegate_server import index
from sparsegate_server.backends import snapshots
from sparsegate_server.backends.base import (
    Alias,
    AliasChange,
    CollectionConfig,
    CollectionStats,
    PayloadIndex,
    Snapshot,
)
from sparsegate_server.errors import (
    CollectionExists,
    CollectionNotFound,
    ShuttingDown,
    SparsegateError,
)
from sparsegate_server.filters import FieldKind, Filter
from sparsegate_server.index import recovery
from sparsegate_server.index.data_folder import DataFolder
from sparsegate_server.index.store import schema
from sparsegate_server.operations import (
    WHOLE,
    Counted,
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
from sparsegate_server.settings import Index as IndexSettings
from sparsegate_server.types import DocumentId, SparseVector

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

MOST_SNAPSHOT_BYTES = 2**36


@dataclass(frozen=True, slots=True, eq=False)
class _Member:
    config: CollectionConfig
    collection: index.Collection


class EmbeddedBackend:
    """Meets `IndexBackend`. Nothing is opened before `start`.

    A read or write whose caller is cancelled before a thread has begun it is dropped; once begun
    it goes on to its end, so that a write is applied whole.

    Args:
        settings: folder, threads, tail size.
        most_snapshot_bytes: of a snapshot's store, unpacked.
    """

    def __init__(
        self, settings: IndexSettings, *, most_snapshot_bytes: int = MOST_SNAPSHOT_BYTES
    ) -> None:
        self._path = settings.folder
        self._threads = settings.threads or os.cpu_count() or 1
        self._tuning = index.Tuning(
            tail_documents=settings.tail_documents,
            most_unindexed=settings.max_unindexed_documents,
            threads=self._threads,
            scrub_seconds=settings.scrub_hours * 3600,
        )
        self._most_snapshot_bytes = most_snapshot_bytes
        # Reads and the shards of one read share these threads. An idle engine gives a search all
        # of them; a busy one leaves each search to its own thread, see `fan_out`.
        self._readers = ThreadPoolExecutor(self._threads, "sparsegate-read")
        # Long work of which one piece at a time is enough; it also keeps collections from being
        # created, deleted and renamed at once.
        self._slow = ThreadPoolExecutor(1, "sparsegate-slow")
        self._members: dict[str, _Member] = {}
        self._broken: dict[str, SparsegateError] = {}
        self._opened: DataFolder | None = None
        self._maintenance: index.Maintenance | None = None
        self._closed = False

    async def start(self) -> None:
        """Opens the data folder and every collection in it. One that cannot be read is refused from
        then on, each time with the reason, and keeps none of the others from being served.

        Raises:
            DataFolderLocked, DataFolderUnusable, StorageFull, CorruptStore: of the folder itself.
        """
        await self._slowly(index.warm_up)
        self._opened = await self._slowly(lambda: DataFolder(self._path))
        self._maintenance = index.Maintenance()
        for name in self._folder.names():
            try:
                self._members[name] = await self._slowly(partial(self._open, name))
            except SparsegateError as error:
                _log.error("collection %s cannot be read: %s", name, error.message)
                self._broken[name] = error

    async def close(self) -> None:
        """Finishes what was begun, refuses the rest, and seals what is new."""
        self._closed = True
        for executor in (self._readers, self._slow):
            await asyncio.to_thread(executor.shutdown)
        for member in self._members.values():
            await asyncio.to_thread(member.collection.close)
        if self._maintenance:
            await asyncio.to_thread(self._maintenance.close)
        if self._opened:
            self._opened.close()

    # Collections.

    async def create_collection(self, config: CollectionConfig) -> CollectionStats:
        parameters = index.Parameters(config.vocabulary_size, config.shards, config.keep_text)

        def make(folder: Path) -> None:
            recovery.create(folder, parameters, asdict(config))

        return _stats(await self._slowly(lambda: self._add(config.name, make)), ())

    async def get_collection(self, name: str) -> CollectionStats:
        member = self._member(name)
        return await self._read(lambda: _stats(member, self._aliases_of(member)))

    async def list_collections(self) -> list[CollectionStats]:
        self._refuse_if_closed()
        members = [self._members[name] for name in sorted(self._members)]
        return await self._read(
            lambda: [_stats(member, self._aliases_of(member)) for member in members]
        )

    def problems(self) -> dict[str, str]:
        return {name: error.message for name, error in sorted(self._broken.items())}

    async def delete_collection(self, name: str) -> None:
        def delete() -> None:
            if name not in self._members and name not in self._broken:
                raise _not_found(name, "name")
            aliases = {key: each for key, each in self._folder.aliases.items() if each != name}
            if aliases != self._folder.aliases:
                self._folder.set_aliases(aliases)
            self._broken.pop(name, None)
            member = self._members.pop(name, None)
            if member:
                member.collection.close()
            self._folder.delete(name)

        await self._slowly(delete)

    def config(self, name: str) -> CollectionConfig:
        return self._member(name).config

    async def optimize(self, name: str) -> CollectionStats:
        member = self._member(name)
        await asyncio.to_thread(member.collection.optimize)
        return await self.get_collection(member.config.name)

    async def update_aliases(self, changes: Sequence[AliasChange]) -> list[Alias]:
        def update() -> None:
            aliases = dict(self._folder.aliases)
            for at, change in enumerate(changes):
                self._apply(change, aliases, f"changes[{at}]")
            self._folder.set_aliases(aliases)

        await self._slowly(update)
        return await self.list_aliases()

    async def list_aliases(self) -> list[Alias]:
        self._refuse_if_closed()
        return [Alias(*pair) for pair in sorted(self._folder.aliases.items())]

    # Documents.

    async def upsert(
        self,
        name: str,
        documents: Sequence[Document],
        *,
        request_id: str = "",
        batch: StreamBatch | None = None,
        config: CollectionConfig | None = None,
    ) -> WriteResult:
        collection = self._member(name, config).collection
        return await self._write(
            lambda: collection.submit_upsert(documents, request_id=request_id, batch=batch)
        )

    async def stream_position(self, name: str, stream: str) -> int:
        collection = self._member(name).collection
        return await self._read(lambda: collection.stream_position(stream))

    async def delete(self, name: str, target: Target, *, request_id: str = "") -> WriteResult:
        collection = self._member(name).collection
        return await self._write(lambda: collection.submit_delete(target, request_id=request_id))

    async def set_payload(
        self, name: str, target: Target, change: PayloadChange, *, request_id: str = ""
    ) -> WriteResult:
        collection = self._member(name).collection
        return await self._write(
            lambda: collection.submit_set_payload(target, change, request_id=request_id)
        )

    async def get(
        self, name: str, ids: Sequence[DocumentId], *, select: Selection = WHOLE
    ) -> Fetched:
        collection = self._member(name).collection
        return await self._read(lambda: collection.get(ids, select))

    async def scroll(
        self,
        name: str,
        *,
        after: DocumentId | None,
        limit: int,
        filter: Filter | None = None,
        select: Selection = WHOLE,
    ) -> Page:
        collection = self._member(name).collection
        return await self._read(lambda: collection.scroll(after, limit, filter, select))

    async def count(self, name: str, filter: Filter | None = None) -> Counted:
        collection = self._member(name).collection
        return await self._read(lambda: collection.count(filter))

    async def create_payload_index(self, name: str, field: str, kind: FieldKind) -> WriteResult:
        collection = self._member(name).collection
        return await self._write(lambda: collection.submit_create_index(field, kind))

    async def delete_payload_index(self, name: str, field: str) -> WriteResult:
        collection = self._member(name).collection
        return await self._write(lambda: collection.submit_delete_index(field))

    # Searches.

    async def search(
        self,
        name: str,
        query: SparseVector,
        options: SearchOptions,
        *,
        config: CollectionConfig | None = None,
    ) -> SearchResult:
        collection = self._member(name, config).collection
        return await self._read(lambda: collection.search(query, options))

    async def explain(
        self,
        name: str,
        query: SparseVector,
        id: DocumentId,
        options: SearchOptions,
        *,
        config: CollectionConfig | None = None,
    ) -> Standing:
        collection = self._member(name, config).collection
        return await self._read(lambda: collection.explain(query, id, options))

    # Snapshots.

    async def create_snapshot(self, name: str) -> Snapshot:
        member = self._member(name)
        name = member.config.name
        return await asyncio.to_thread(
            lambda: snapshots.create(member.collection, self._folder.make_snapshots(name), name)
        )

    async def list_snapshots(self, name: str) -> list[Snapshot]:
        name = self._known(name)
        return await self._read(lambda: snapshots.listed(self._folder.snapshots(name), name))

    async def delete_snapshot(self, name: str, snapshot: str) -> None:
        path = await self.snapshot_path(name, snapshot)
        await self._slowly(lambda: snapshots.delete(path))

    async def snapshot_path(self, name: str, snapshot: str) -> Path:
        name = self._known(name)
        return await self._read(lambda: snapshots.path(self._folder.snapshots(name), snapshot))

    async def restore_snapshot(self, name: str, archive: Path) -> CollectionStats:
        def restore(folder: Path) -> None:
            snapshots.restore(archive, folder, name, most_bytes=self._most_snapshot_bytes)

        return _stats(await self._slowly(lambda: self._add(name, restore)), ())

    def _add(self, name: str, make: Callable[[Path], None]) -> _Member:
        """Has a collection made, and opens it. Runs in the one thread that changes names."""
        self._check_free(name)
        self._folder.create(name, make)
        try:
            member = self._open(name)
        except SparsegateError as error:
            self._broken[name] = error
            raise
        self._members[name] = member
        return member

    def _open(self, name: str) -> _Member:
        folder = self._folder.collection(name)
        try:
            config = CollectionConfig(**{**recovery.read_config(folder), "name": name})
        except TypeError as error:
            raise schema.damaged(folder / schema.FILE, f"its config is none: {error}") from error
        collection = index.Collection(
            folder,
            self._tuning,
            pool=self._readers if self._threads > 1 else None,
            maintenance=self._maintenance,
        )
        return _Member(config, collection)

    def _check_free(self, name: str) -> None:
        if name in self._members or name in self._broken:
            raise CollectionExists(
                f"collection {name!r} exists: choose another name or delete it first",
                field="name",
            )
        if name in self._folder.aliases:
            raise CollectionExists(
                f"{name!r} is an alias of {self._folder.aliases[name]!r}: choose another name",
                field="name",
            )

    def _apply(self, change: AliasChange, aliases: dict[str, str], field: str) -> None:
        """Raises CollectionExists, CollectionNotFound."""
        if change.collection is None:
            aliases.pop(change.alias, None)
            return
        if change.alias in self._members or change.alias in self._broken:
            raise CollectionExists(
                f"{change.alias!r} is the name of a collection", field=f"{field}.alias"
            )
        if change.collection not in self._members:
            raise _not_found(change.collection, f"{field}.collection")
        aliases[change.alias] = change.collection

    def _aliases_of(self, member: _Member) -> tuple[str, ...]:
        pairs = sorted(self._folder.aliases.items())
        return tuple(alias for alias, name in pairs if name == member.config.name)

    def _known(self, name: str) -> str:
        """The collection's own name; archives of one that cannot be read, or was deleted, are still
        to be had under it."""
        self._refuse_if_closed()
        if self._folder.snapshots(name).is_dir():
            return name
        return self._member(name).config.name

    def _member(self, name: str, config: CollectionConfig | None = None) -> _Member:
        """The collection of that name; where `config` is given, the very one that it is of."""
        self._refuse_if_closed()
        name = self._folder.aliases.get(name, name)
        if name in self._broken:
            raise self._broken[name]
        member = self._members.get(name)
        if member is None:
            raise _not_found(name, "collection")
        if config is not None and member.config is not config:
            raise CollectionNotFound(
                f"collection {name!r} was deleted and made anew meanwhile: send the request again",
                field="collection",
            )
        return member

    @property
    def _folder(self) -> DataFolder:
        if self._opened is None:
            raise ShuttingDown("the index is not open yet: retry later", retry_after=1.0)
        return self._opened

    async def _write(self, submit: Callable[[], Future[WriteResult]]) -> WriteResult:
        """Prepares a write in a thread, then waits for its commit."""
        return await asyncio.wrap_future(await self._read(submit))

    async def _read(self, work: Callable[[], _Result]) -> _Result:
        self._refuse_if_closed()
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    async def _slowly(self, work: Callable[[], _Result]) -> _Result:
        self._refuse_if_closed()
        return await asyncio.get_running_loop().run_in_executor(self._slow, work)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ShuttingDown("the index is shutting down: retry later")


def _not_found(name: str, field: str) -> CollectionNotFound:
    return CollectionNotFound(
        f"no collection is named {name!r}: create it first, or list the collections"
        " to see their names",
        field=field,
    )


def _stats(member: _Member, aliases: tuple[str, ...]) -> CollectionStats:
    collection = member.collection
    size = collection.size()
    return CollectionStats(
        config=member.config,
        sequence=size.sequence,
        documents=size.documents,
        segments=size.segments,
        tail=size.tail,
        postings=size.postings,
        tombstones=size.tombstones,
        index_bytes=size.index_bytes,
        store_bytes=size.store_bytes,
        busy=collection.busy,
        problem=collection.problem,
        payload_indexes=tuple(
            PayloadIndex(field, kind, ready)
            for field, (kind, ready) in collection.indexes().items()
        ),
        aliases=aliases,
    )
