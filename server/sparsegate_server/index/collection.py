"""A collection: a store, an index over it, one writer, any number of readers, background work."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from sparsegate_server.errors import InvalidRequest, Overloaded, SparsegateError
from sparsegate_server.filters import TEXT_FIELD, FieldKind, Filter
from sparsegate_server.index import kernels, recovery
from sparsegate_server.index.archive import Archived, write_archive
from sparsegate_server.index.filter import evaluate
from sparsegate_server.index.filtering import Filtering
from sparsegate_server.index.hydration import Hydration
from sparsegate_server.index.maintenance import Job, Maintenance
from sparsegate_server.index.reader import Reader
from sparsegate_server.index.scrub import Scrub
from sparsegate_server.index.sealing import Dropped, Sealing
from sparsegate_server.index.store.codec import write_payload
from sparsegate_server.index.values import Size
from sparsegate_server.index.writer import Writer
from sparsegate_server.index.writes import Step, Writes, digest_of, prepare
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
from sparsegate_server.types import DocumentId, SparseVector

_CROWDED: Final = 16
"""Tails of so many times their size hold writes back until they are sealed."""

_PATIENCE_SECONDS: Final = 30.0
_PURGED_AT_ONCE: Final = 20_000


@dataclass(frozen=True, slots=True)
class Tuning:
    """What may differ from one start to the next.

    Attributes:
        tail_documents: new documents that are kept unsorted before they are sealed.
        most_unindexed: sealed documents that one filter may read from the store.
        threads: how many threads one search may use, the calling one included.
        scrub_seconds: pause between two readings of all files in the background; 0 for none.
    """

    tail_documents: int = 1024
    most_unindexed: int = 20_000
    threads: int = 1
    scrub_seconds: float = 0.0


class Collection:
    """An open collection. Writes are durable and visible when they return; reads never wait.

    Args:
        folder: of the collection, made by `recovery.create`.
        pool: where the threads of a search come from; None if `tuning.threads` is 1.
        maintenance: who seals and merges in the background; without it, that is up to the caller.

    Raises:
        CorruptStore, CorruptIndex: a file is missing, foreign or damaged; it is named.
    """

    def __init__(
        self,
        folder: Path,
        tuning: Tuning = Tuning(),
        *,
        pool: ThreadPoolExecutor | None = None,
        maintenance: Maintenance | None = None,
    ) -> None:
        kernels.warm_up()
        self.folder = folder
        self._tuning = tuning
        opened = recovery.open_folder(folder, threads=tuning.threads)
        self.parameters = opened.parameters
        self._store, self._contents = opened.store, opened.contents
        self._hydration = Hydration(self._store)
        filtering = Filtering(
            self._hydration, tuning.most_unindexed, texts=self.parameters.keep_text
        )
        self._reader = Reader(
            self._contents.published,
            filtering,
            self._hydration,
            vocabulary=self.parameters.vocabulary,
            pool=pool,
        )
        self._sealing = Sealing(
            folder / recovery.INDEX,
            opened.manifest,
            self._contents,
            self._hydration,
            tail_documents=tuning.tail_documents,
            dropped=self._drop,
        )
        self._writes = Writes(self._store, self._contents, filtering, self._hydration)
        self._maintenance = maintenance
        self._seal_job = Job(f"sealing {folder.name}", self._seal_if_due)
        self._merge_job = Job(f"merging {folder.name}", self._merge_or_index)
        self._scrub = Scrub(folder / recovery.INDEX, lambda: self._sealing.manifest)
        self._scrub_job = Job(f"scrubbing {folder.name}", self._scrub_step)
        self._room = threading.Condition()
        self._graves: list[Dropped] = []
        self._digging = threading.Lock()
        self._writer = Writer(
            self._store, self._contents, ready=self._wait_for_room, written=self._after_writes
        )
        if len(opened.orphans):
            self._drop(Dropped(self._contents.sequence, opened.orphans))
        if maintenance:
            maintenance.sealing.wake(self._seal_job)
            maintenance.merging.wake(self._merge_job)
            self._schedule_scrub()

    def close(self) -> None:
        """Finishes the writes that have begun and seals what is new, so that the next start has
        nothing to replay."""
        self._writer.close()
        if self._maintenance:
            self._maintenance.sealing.forget(self._seal_job)
            self._maintenance.merging.forget(self._merge_job)
            self._maintenance.merging.forget(self._scrub_job)
        try:
            self._sealing.seal()
        except SparsegateError:
            pass  # all of it is in the store
        finally:
            self._store.close()

    # Writes. Each comes as a step of the writer and as a call that waits for it.

    def submit_upsert(
        self,
        documents: Sequence[Document],
        *,
        request_id: str = "",
        batch: StreamBatch | None = None,
    ) -> Future[WriteResult]:
        """Inserts or replaces whole documents; the last of several with one id wins.

        Raises:
            InvalidRequest: an id that is none.
            InvalidVector, UnknownTerm, InvalidDocument: a document that cannot be stored.
        """
        prepared = prepare(
            documents, self.parameters.vocabulary, keep_text=self.parameters.keep_text
        )
        step = self._writes.once(self._writes.upsert(prepared), request_id, prepared.digest)
        return self._writer.submit(self._writes.in_stream(step, batch) if batch else step)

    def submit_delete(self, target: Target, *, request_id: str = "") -> Future[WriteResult]:
        """Deletes documents; unknown ids are passed over.

        Raises:
            InvalidRequest: an id that is none.
            InvalidFilter: a filter that cannot be understood.
        """
        _check(target)
        return self._submit(self._writes.delete(target), request_id, "delete", target)

    def submit_set_payload(
        self, target: Target, change: PayloadChange, *, request_id: str = ""
    ) -> Future[WriteResult]:
        """Changes payloads; unknown ids are passed over.

        Raises:
            InvalidRequest, InvalidFilter, InvalidDocument.
        """
        _check(target)
        step = self._writes.set_payload(target, change)
        payload = write_payload(change.payload, "payload")
        return self._submit(
            step, request_id, "set_payload", target, change.mode, payload, change.keys
        )

    def submit_create_index(self, field: str, kind: FieldKind) -> Future[WriteResult]:
        """Declares a payload index.

        Raises:
            InvalidFilter: not the path of a field. InvalidRequest: it has one of another kind, or
                is a text that the collection does not keep.
        """
        if field == TEXT_FIELD and not self.parameters.keep_text:
            raise InvalidRequest("the collection keeps no texts to index", field="field")
        return self._writer.submit(self._writes.create_index(field, kind))

    def submit_delete_index(self, field: str) -> Future[WriteResult]:
        """Raises InvalidFilter: not the path of a field."""
        return self._writer.submit(self._writes.delete_index(field))

    def upsert(
        self,
        documents: Sequence[Document],
        *,
        request_id: str = "",
        batch: StreamBatch | None = None,
    ) -> WriteResult:
        return self.submit_upsert(documents, request_id=request_id, batch=batch).result()

    def delete(self, target: Target, *, request_id: str = "") -> WriteResult:
        return self.submit_delete(target, request_id=request_id).result()

    def set_payload(
        self, target: Target, change: PayloadChange, *, request_id: str = ""
    ) -> WriteResult:
        return self.submit_set_payload(target, change, request_id=request_id).result()

    def create_index(self, field: str, kind: FieldKind) -> WriteResult:
        return self.submit_create_index(field, kind).result()

    def delete_index(self, field: str) -> WriteResult:
        return self.submit_delete_index(field).result()

    def stream_position(self, stream: str) -> int:
        """Number of the last applied batch of a stream; 0 if there is none."""
        return self._store.stream_batch(stream)

    # Reads; see `Reader`. Raise CorruptIndex once the scrub has found damage.

    def search(self, query: SparseVector, options: SearchOptions) -> SearchResult:
        self._refuse_if_damaged()
        return self._reader.search(query, options)

    def explain(
        self, query: SparseVector, document_id: DocumentId, options: SearchOptions
    ) -> Standing:
        self._refuse_if_damaged()
        return self._reader.explain(query, document_id, options)

    def get(self, document_ids: Sequence[DocumentId], select: Selection = WHOLE) -> Fetched:
        self._refuse_if_damaged()
        return self._reader.get(document_ids, select)

    def scroll(
        self,
        after: DocumentId | None,
        limit: int,
        filter: Filter | None = None,
        select: Selection = WHOLE,
    ) -> Page:
        self._refuse_if_damaged()
        return self._reader.scroll(after, limit, filter, select)

    def count(self, filter: Filter | None = None) -> Counted:
        self._refuse_if_damaged()
        return self._reader.count(filter)

    def size(self) -> Size:
        with self._contents.lock:
            view = self._contents.published.view
            segments = sum(len(shard.segments) for shard in self._contents.shards)
            tail = sum(part.rows for part in view.parts) - sum(
                each.rows for shard in self._contents.shards for each in shard.segments
            )
        return Size(
            view.sequence,
            view.documents,
            segments,
            tail,
            sum(part.stored_weights for part in view.parts),
            sum(part.rows for part in view.parts) - view.documents,
            recovery.index_bytes(self.folder),
            self._store.bytes(),
        )

    def indexes(self) -> dict[str, tuple[FieldKind, bool]]:
        """Declared payload indexes, and whether they are ready."""
        with self._contents.lock:
            ready = self._contents.published.view.indexes
            return {
                name: (kind, ready.get(name) is kind)
                for name, kind in sorted(self._contents.indexes.items())
            }

    @property
    def busy(self) -> bool:
        """Whether there is background work left."""
        if self._maintenance is None:
            return False
        return self._maintenance.sealing.busy(self._seal_job) or self._maintenance.merging.busy(
            self._merge_job
        )

    @property
    def problem(self) -> str:
        """Why background work fails, "" while it does not."""
        damage = self._scrub.damage.message if self._scrub.damage else ""
        return damage or self._seal_job.problem or self._merge_job.problem

    # Background work, by hand.

    def seal(self) -> bool:
        """Makes the new documents segments. Returns whether there were any."""
        done = self._sealing.seal()
        self._make_room()
        return done

    def merge(self) -> bool:
        """One merge, if one is due."""
        return self._sealing.merge()

    def build_indexes(self) -> bool:
        """The columns of one declared payload index, if some are missing."""
        return self._sealing.index()

    def optimize(self) -> None:
        """Seals, and merges each shard to one segment without dead documents."""
        self.seal()
        self._sealing.merge(whole=True)
        while self._sealing.index():
            pass

    def snapshot(self, path: Path) -> Archived:
        """Writes an archive of all that is committed now to a new file."""
        return write_archive(self._store, path)

    def _submit(self, step: Step, request_id: str, *parts: object) -> Future[WriteResult]:
        return self._writer.submit(self._writes.once(step, request_id, digest_of(*parts)))

    def _after_writes(self) -> None:
        self._wake()
        self._purge()

    def _wake(self) -> None:
        if self._maintenance is None:
            return
        if self._sealing.due():
            self._maintenance.sealing.wake(self._seal_job)
        if not self._contents.indexes.keys() <= self._contents.published.view.indexes.keys():
            self._maintenance.merging.wake(self._merge_job)

    def _seal_if_due(self) -> bool:
        if not self._sealing.due() and not self._sealing.interrupted:
            return False
        self._sealing.seal()
        self._make_room()
        self._store.checkpoint()
        if self._maintenance:
            self._maintenance.merging.wake(self._merge_job)
        return True

    def _merge_or_index(self) -> bool:
        return self._sealing.merge() or self._sealing.index()

    def _schedule_scrub(self) -> None:
        if self._maintenance and self._tuning.scrub_seconds:
            self._scrub.begin()
            self._maintenance.merging.wake(self._scrub_job, self._tuning.scrub_seconds)

    def _scrub_step(self) -> bool:
        if self._scrub.damage:
            return False
        more = self._scrub.step()
        if not more:
            self._schedule_scrub()
        return more

    def _refuse_if_damaged(self) -> None:
        if self._scrub.damage:
            raise self._scrub.damage

    def _wait_for_room(self) -> None:
        """Holds writes back while the tails are too long to be searched fast."""
        if self._maintenance is None:
            return
        most = _CROWDED * self._tuning.tail_documents
        if self._contents.tail_rows() >= most:
            # Writes that failed fill the tails, too, and wake nobody.
            self._maintenance.sealing.wake(self._seal_job)
        with self._room:
            if self._room.wait_for(
                lambda: self._contents.tail_rows() < most, timeout=_PATIENCE_SECONDS
            ):
                return
        raise Overloaded(
            f"{most} documents wait to be sealed ({self.problem or 'the disk is slow'}):"
            " retry later",
            retry_after=5.0,
        )

    def _make_room(self) -> None:
        with self._room:
            self._room.notify_all()

    def _drop(self, dropped: Dropped) -> None:
        if len(dropped.numbers):
            with self._digging:
                self._graves.append(dropped)
            self._purge()

    def _purge(self) -> None:
        """Has the store forget the documents that nobody can see any more."""
        oldest = self._contents.published.oldest()
        with self._digging:
            due = [each for each in self._graves if each.sequence <= oldest]
            self._graves = [each for each in self._graves if each.sequence > oldest]
        for each in due:
            for start in range(0, len(each.numbers), _PURGED_AT_ONCE):
                some = Dropped(each.sequence, each.numbers[start : start + _PURGED_AT_ONCE])
                try:
                    purged = self._writer.submit(self._writes.purge(some.numbers.tolist()))
                except SparsegateError:
                    return  # closing: the next start finds them
                purged.add_done_callback(partial(self._purge_later, some))

    def _purge_later(self, dropped: Dropped, purged: Future[WriteResult]) -> None:
        """A purge that failed, as when the disk is full, is tried again after a later write."""
        if purged.exception():
            with self._digging:
                self._graves.append(dropped)


def _check(target: Target) -> None:
    if isinstance(target, Filter):
        evaluate.check(target)
