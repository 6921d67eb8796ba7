"""The engine of this process as an index backend: collections in memory, work in threads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from sparsegate_server import index
from sparsegate_server.backends.base import (
    CollectionConfig,
    CollectionStats,
    Document,
    Fetched,
    Hit,
    Page,
    SearchResult,
    WriteResult,
)
from sparsegate_server.errors import CollectionExists, CollectionNotFound, ShuttingDown
from sparsegate_server.settings import Index as IndexSettings
from sparsegate_server.types import DocumentId, SparseVector

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, eq=False)
class _Member:
    """A collection and the one thread that writes to it: writes queue there, in order, and a
    collection that is busy merging holds up no other."""

    config: CollectionConfig
    collection: index.Collection
    writer: ThreadPoolExecutor


class EmbeddedBackend:
    """Meets `IndexBackend`.

    A read or write whose caller is cancelled before a thread has begun it is dropped; once begun
    it goes on to its end, so that a write is applied whole.

    Args:
        settings: threads and tail size.
    """

    def __init__(self, settings: IndexSettings) -> None:
        self._tail_documents = settings.tail_documents
        self._threads = settings.threads or os.cpu_count() or 1
        # Reads and the shards of one read share these threads. An idle engine gives a search all
        # of them; a busy one leaves each search to its own thread, see `fan_out`.
        self._readers = ThreadPoolExecutor(self._threads, "sparsegate-read")
        self._members: dict[str, _Member] = {}
        self._closed = False

    async def create_collection(self, config: CollectionConfig) -> CollectionStats:
        await self._read(index.warm_up)
        self._refuse_if_closed()
        if config.name in self._members:
            raise CollectionExists(
                f"collection {config.name!r} exists: choose another name or delete it first",
                field="name",
            )
        member = _Member(
            config,
            index.Collection(
                config.vocabulary_size,
                shards=config.shards,
                tail_documents=self._tail_documents,
                threads=self._threads,
                pool=self._readers if self._threads > 1 else None,
            ),
            ThreadPoolExecutor(1, "sparsegate-write"),
        )
        self._members[config.name] = member
        return _stats(member)

    async def get_collection(self, name: str) -> CollectionStats:
        return _stats(self._member(name))

    async def list_collections(self) -> list[CollectionStats]:
        self._refuse_if_closed()
        return [_stats(self._members[name]) for name in sorted(self._members)]

    async def delete_collection(self, name: str) -> None:
        member = self._member(name)
        del self._members[name]
        member.writer.shutdown(wait=False)

    def config(self, name: str) -> CollectionConfig:
        return self._member(name).config

    async def upsert(
        self, name: str, documents: Sequence[Document], *, config: CollectionConfig | None = None
    ) -> WriteResult:
        member = self._member(name, config)

        def write() -> index.Written:
            return member.collection.upsert([_entry(document) for document in documents])

        return _write_result(await _in(member.writer, write))

    async def delete(self, name: str, ids: Sequence[DocumentId]) -> WriteResult:
        member = self._member(name)
        return _write_result(await _in(member.writer, lambda: member.collection.delete(ids)))

    async def get(self, name: str, ids: Sequence[DocumentId]) -> Fetched:
        collection = self._member(name).collection

        def read() -> Fetched:
            found = collection.get(ids)
            documents = tuple(entry and _document(entry) for entry in found.entries)
            return Fetched(documents, found.sequence)

        return await self._read(read)

    async def scroll(self, name: str, *, after: DocumentId | None, limit: int) -> Page:
        collection = self._member(name).collection

        def read() -> Page:
            found = collection.scroll(after, limit)
            documents = tuple(map(_document, found.entries))
            return Page(documents, documents[-1].id if found.more else None, found.sequence)

        return await self._read(read)

    async def search(
        self,
        name: str,
        query: SparseVector,
        *,
        limit: int,
        with_documents: bool = False,
        config: CollectionConfig | None = None,
    ) -> SearchResult:
        collection = self._member(name, config).collection

        def read() -> SearchResult:
            ranking = collection.search(query, limit, with_entries=with_documents)
            return SearchResult(
                tuple(Hit(match.id, match.score) for match in ranking.matches),
                ranking.sequence,
                ranking.postings_scored,
                tuple(map(_document, ranking.entries)),
            )

        return await self._read(read)

    async def close(self) -> None:
        """Finishes what was begun and refuses the rest."""
        self._closed = True
        writers = [member.writer for member in self._members.values()]
        for executor in (*writers, self._readers):
            await asyncio.to_thread(executor.shutdown)

    def _member(self, name: str, config: CollectionConfig | None = None) -> _Member:
        """The collection of that name; where `config` is given, the very one that it is of."""
        if self._closed:
            raise ShuttingDown("the index is shutting down: retry later")
        member = self._members.get(name)
        if member is None:
            raise CollectionNotFound(
                f"no collection is named {name!r}: create it first, or list the collections"
                " to see their names",
                field="collection",
            )
        if config is not None and member.config is not config:
            raise CollectionNotFound(
                f"collection {name!r} was deleted and made anew meanwhile: send the request again",
                field="collection",
            )
        return member

    async def _read(self, work: Callable[[], _Result]) -> _Result:
        self._refuse_if_closed()
        return await _in(self._readers, work)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ShuttingDown("the index is shutting down: retry later")


async def _in(executor: ThreadPoolExecutor, work: Callable[[], _Result]) -> _Result:
    return await asyncio.get_running_loop().run_in_executor(executor, work)


def _stats(member: _Member) -> CollectionStats:
    size = member.collection.size()
    return CollectionStats(
        member.config,
        size.sequence,
        size.documents,
        size.segments,
        size.postings,
        size.tombstones,
    )


def _entry(document: Document) -> index.Entry:
    record = index.Record(document.text, document.payload)
    return index.Entry(document.id, document.vector, record)


def _document(entry: index.Entry) -> Document:
    return Document(entry.id, entry.vector, entry.record.text, entry.record.payload)


def _write_result(written: index.Written) -> WriteResult:
    return WriteResult(written.sequence, written.affected)
