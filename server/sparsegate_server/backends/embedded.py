"""The engine of this process as an index backend: collections in a data folder, work in threads."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from sparsegate_server import index
from sparsegate_server.backends import batches, snapshots
from sparsegate_server.backends.base import (
    Alias,
    AliasChange,
    CollectionConfig,
    CollectionStats,
    Snapshot,
)
from sparsegate_server.backends.facts import facts_of
from sparsegate_server.backends.members import Member, Members, parameters_of
from sparsegate_server.backends.threads import Threads
from sparsegate_server.errors import CorruptStore, ShuttingDown, SparsegateError
from sparsegate_server.filters import FieldKind, Filter
from sparsegate_server.index import recovery
from sparsegate_server.index.data_folder import DataFolder
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
from sparsegate_server.settings import Index as IndexSettings
from sparsegate_server.types import DocumentId, SparseVector

_Result = TypeVar("_Result")

MOST_SNAPSHOT_BYTES = 2**36


class EmbeddedBackend:
    """Meets `IndexBackend`. Nothing is opened before `start`.

    A read or write whose caller is cancelled before a thread has begun it is dropped; once begun
    it goes on to its end, so that a write is applied whole.

    Args:
        settings: folder, threads, tail size.
        most_snapshot_bytes: of a snapshot's store, unpacked.
        most_payload_bytes: of a payload that has been changed in place; 0 for no limit.
    """

    def __init__(
        self,
        settings: IndexSettings,
        *,
        most_snapshot_bytes: int = MOST_SNAPSHOT_BYTES,
        most_payload_bytes: int = 0,
    ) -> None:
        self._path = settings.folder
        self._threads = Threads(settings.threads or os.cpu_count() or 1)
        self._tuning = index.Tuning(
            tail_documents=settings.tail_documents,
            most_unindexed=settings.max_unindexed_documents,
            threads=self._threads.count,
            scrub_seconds=settings.scrub_hours * 3600,
            most_payload_bytes=most_payload_bytes,
        )
        self._most_snapshot_bytes = most_snapshot_bytes
        self._opened: Members | None = None
        self._maintenance: index.Maintenance | None = None

    async def start(self) -> None:
        """Opens the data folder and every collection in it. One that cannot be read is refused from
        then on, each time with the reason, and keeps none of the others from being served.

        Raises:
            DataFolderLocked, DataFolderUnusable, StorageFull, CorruptStore: of the folder itself.
        """
        await self._threads.named(index.warm_up)
        folder = await self._threads.named(lambda: DataFolder(self._path))
        self._maintenance = index.Maintenance()
        members = Members(folder, self._open)
        await self._threads.named(members.open_all)
        self._opened = members

    async def close(self) -> None:
        """Finishes what was begun, refuses the rest, and seals what is new."""
        await self._threads.close()
        for member in self._opened.all() if self._opened else ():
            await asyncio.to_thread(member.collection.close)
        # Whatever was long found its collection closed, and leaves the folder alone from here on.
        await self._threads.finish_long()
        if self._maintenance:
            await asyncio.to_thread(self._maintenance.close)
        if self._opened:
            self._opened.folder.close()

    # Collections.

    async def create_collection(self, config: CollectionConfig) -> CollectionStats:
        def make(folder: Path) -> None:
            recovery.create(folder, parameters_of(config), facts_of(config))

        return await self._add(config.name, make)

    async def get_collection(self, name: str) -> CollectionStats:
        member = self._member(name)
        return await self._threads.read(lambda: member.stats(self._members.aliases_of(member)))

    async def list_collections(self) -> list[CollectionStats]:
        members = self._members
        return await self._threads.read(
            lambda: [each.stats(members.aliases_of(each)) for each in members.all()]
        )

    def problems(self) -> dict[str, str]:
        return self._members.problems()

    def states(self) -> dict[str, str]:
        return self._members.states()

    async def delete_collection(self, name: str) -> None:
        await self._threads.named(lambda: self._members.delete(name))

    def counts(self, name: str) -> Counts:
        return self._member(name).collection.counts()

    def config(self, name: str) -> CollectionConfig:
        return self._member(name).config

    async def optimize(self, name: str) -> CollectionStats:
        member = self._member(name)
        await self._long_of(member, member.collection.optimize)
        return await self.get_collection(member.config.name)

    async def update_aliases(self, changes: Sequence[AliasChange]) -> list[Alias]:
        await self._threads.named(lambda: self._members.update_aliases(changes))
        return self._members.aliases()

    async def list_aliases(self) -> list[Alias]:
        return self._members.aliases()

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
        member = self._member(name, config)

        def submit() -> Future[WriteResult]:
            joined = [member.ranges.joined(each) for each in documents]
            return member.collection.submit_upsert(joined, request_id=request_id, batch=batch)

        return await self._write(member, submit)

    async def stream_position(self, name: str, stream: str) -> int:
        member = self._member(name)
        return await self._read_of(member, lambda: member.collection.stream_position(stream))

    async def delete(self, name: str, target: Target, *, request_id: str = "") -> WriteResult:
        member = self._member(name)
        return await self._write(
            member, lambda: member.collection.submit_delete(target, request_id=request_id)
        )

    async def set_payload(
        self, name: str, target: Target, change: PayloadChange, *, request_id: str = ""
    ) -> WriteResult:
        member = self._member(name)
        return await self._write(
            member,
            lambda: member.collection.submit_set_payload(target, change, request_id=request_id),
        )

    async def get(
        self,
        name: str,
        ids: Sequence[DocumentId],
        *,
        select: Selection = WHOLE,
        max_bytes: int = 0,
    ) -> Fetched:
        member = self._member(name)

        def read() -> Fetched:
            own = member.ranges.selecting(select, 0)
            return member.collection.get(ids, own, max_bytes=max_bytes)

        return await self._read_of(member, read)

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
        member = self._member(name)

        def read() -> Page:
            own = member.ranges.selecting(select, 0)
            return member.collection.scroll(after, limit, filter, own, max_bytes=max_bytes)

        return await self._read_of(member, read)

    async def count(self, name: str, filter: Filter | None = None) -> Counted:
        member = self._member(name)
        return await self._read_of(member, lambda: member.collection.count(filter))

    async def create_payload_index(self, name: str, field: str, kind: FieldKind) -> WriteResult:
        member = self._member(name)
        return await self._write(member, lambda: member.collection.submit_create_index(field, kind))

    async def delete_payload_index(self, name: str, field: str) -> WriteResult:
        member = self._member(name)
        return await self._write(member, lambda: member.collection.submit_delete_index(field))

    # Searches.

    async def search(
        self,
        name: str,
        query: SparseVector,
        options: SearchOptions,
        *,
        config: CollectionConfig | None = None,
    ) -> SearchResult:
        member = self._member(name, config)
        ranges, tier = member.ranges, options.tier

        def search() -> SearchResult:
            return ranges.result(member.collection.search(*ranges.asked(query, options)), tier)

        return await self._read_of(member, search)

    async def search_batch(
        self,
        name: str,
        searches: Sequence[tuple[SparseVector, SearchOptions]],
        *,
        config: CollectionConfig | None = None,
    ) -> list[SearchResult | SparsegateError]:
        member = self._member(name, config)
        asked = [member.ranges.asked(query, options) for query, options in searches]
        threads = self._threads
        with member.collection.batch(asked, threads=threads.count) as batch:
            outcomes = await batches.answered(batch, threads.count, threads.read_soon)
        return [
            self._members.told(member, each)
            if isinstance(each, SparsegateError)
            else member.ranges.result(each, of.tier)
            for each, (_, of) in zip(outcomes, searches, strict=True)
        ]

    async def explain(
        self,
        name: str,
        query: SparseVector,
        id: DocumentId,
        options: SearchOptions,
        *,
        config: CollectionConfig | None = None,
    ) -> Standing:
        member = self._member(name, config)
        ranges, tier = member.ranges, options.tier

        def explain() -> Standing:
            placed = ranges.placed(query, tier)
            return ranges.standing(member.collection.explain(placed, id, options), tier)

        return await self._read_of(member, explain)

    async def calibrate(
        self,
        name: str,
        queries: Sequence[SparseVector],
        limit: int,
        *,
        config: CollectionConfig | None = None,
    ) -> Calibration:
        member = self._member(name, config)
        abandoned = threading.Event()

        def measure() -> Calibration:
            return member.collection.calibrate(queries, limit, abandoned=abandoned.is_set)

        try:
            return await self._long_of(member, measure)
        finally:
            abandoned.set()

    # Snapshots.

    async def create_snapshot(self, name: str) -> Snapshot:
        member = self._member(name)
        name = member.config.name

        def create() -> Snapshot:
            folder = self._members.folder.make_snapshots(name)
            return snapshots.create(member.collection, folder, name)

        return await self._long_of(member, create)

    async def list_snapshots(self, name: str) -> list[Snapshot]:
        def read() -> list[Snapshot]:
            own = self._members.with_snapshots(name)
            return snapshots.listed(self._members.folder.snapshots(own), own)

        return await self._threads.read(read)

    async def delete_snapshot(self, name: str, snapshot: str) -> None:
        path = await self.snapshot_path(name, snapshot)
        await self._threads.read(lambda: snapshots.delete(path))

    async def snapshot_path(self, name: str, snapshot: str) -> Path:
        def find() -> Path:
            own = self._members.with_snapshots(name)
            return snapshots.path(self._members.folder.snapshots(own), snapshot)

        return await self._threads.read(find)

    async def restore_snapshot(self, name: str, archive: Path) -> CollectionStats:
        def restore(folder: Path) -> None:
            snapshots.restore(archive, folder, name, most_bytes=self._most_snapshot_bytes)

        return await self._add(name, restore)

    async def _add(self, name: str, make: Callable[[Path], None]) -> CollectionStats:
        """Has a collection made beside the others, which may take long, then gives it its name."""
        members = self._members
        await self._threads.named(lambda: members.check_free(name))
        prepared = await self._threads.long(lambda: members.folder.prepare(make))
        return await self._threads.named(lambda: members.install(prepared, name).stats())

    def _open(self, folder: Path) -> index.Collection:
        return index.Collection(
            folder,
            self._tuning,
            pool=self._threads.readers if self._threads.count > 1 else None,
            maintenance=self._maintenance,
        )

    def _member(self, name: str, config: CollectionConfig | None = None) -> Member:
        self._threads.refuse_if_closed()
        return self._members.get(name, config)

    @property
    def _members(self) -> Members:
        if self._opened is None:
            raise ShuttingDown("the index is not open yet: retry later", retry_after=1.0)
        return self._opened

    async def _write(
        self, member: Member, submit: Callable[[], Future[WriteResult]]
    ) -> WriteResult:
        """Prepares a write in a thread, then waits for its commit."""
        submitted = await self._read_of(member, submit)
        return await self._told(member, asyncio.wrap_future(submitted))

    async def _read_of(self, member: Member, work: Callable[[], _Result]) -> _Result:
        return await self._told(member, self._threads.read(work))

    async def _long_of(self, member: Member, work: Callable[[], _Result]) -> _Result:
        return await self._told(member, self._threads.long(work))

    async def _told(self, member: Member, work: Awaitable[_Result]) -> _Result:
        try:
            return await work
        except (ShuttingDown, CorruptStore) as error:
            raise self._members.told(member, error) from None
