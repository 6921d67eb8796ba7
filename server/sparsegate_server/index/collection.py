"""A collection: a store, an index over it, one writer, any number of readers, background work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from sparsegate_server.errors import SparsegateError
from sparsegate_server.filters import FieldKind, Filter
from sparsegate_server.index import kernels, recovery
from sparsegate_server.index.archive import Archived, write_archive
from sparsegate_server.index.background import Background
from sparsegate_server.index.batch import Batch, Outcome, Search
from sparsegate_server.index.efforts import Efforts
from sparsegate_server.index.figures import Figures
from sparsegate_server.index.filtering import Filtering
from sparsegate_server.index.graves import Dropped, Graves
from sparsegate_server.index.hydration import Hydration
from sparsegate_server.index.index_files import IndexFiles
from sparsegate_server.index.maintenance import Maintenance
from sparsegate_server.index.reader import Reader
from sparsegate_server.index.requests import Requests
from sparsegate_server.index.scrub import Scrub
from sparsegate_server.index.store.database import Store
from sparsegate_server.index.tuning import Tuning
from sparsegate_server.index.upkeep import Upkeep
from sparsegate_server.index.values import Size
from sparsegate_server.index.writer import Writer
from sparsegate_server.index.writes import Step, Writes
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

_log = logging.getLogger(__name__)

_USUAL: Final = Tuning()


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
        tuning: Tuning = _USUAL,
        *,
        pool: ThreadPoolExecutor | None = None,
        maintenance: Maintenance | None = None,
    ) -> None:
        kernels.warm_up()
        self.folder = folder
        opened = recovery.open_folder(folder, threads=tuning.threads)
        self.parameters = opened.parameters
        self._store, self._contents = opened.store, opened.contents
        self._figures = Figures(folder, opened.contents, opened.store)
        self._efforts = Efforts(
            _calibration_of(self._store),
            lambda made: self._writer.submit(
                lambda _: self._store.set_calibration(made), grows=False
            ).result(),
        )
        hydration = Hydration(self._store)
        filtering = Filtering(hydration, tuning.most_unindexed, texts=self.parameters.keep_text)
        self._reader = Reader(
            self._contents.published,
            filtering,
            hydration,
            vocabulary=self.parameters.vocabulary,
            pool=pool,
        )
        writes = Writes(
            self._store,
            self._contents,
            filtering,
            hydration,
            most_payload_bytes=tuning.most_payload_bytes,
        )
        self._requests = Requests(writes, self.parameters)
        self._graves = Graves(
            self._contents.published,
            lambda numbers: self._writer.submit(writes.purge(numbers), grows=False),
        )
        index = folder / recovery.INDEX
        self._scrub = Scrub(index, lambda: files.manifest, self._store)
        files = IndexFiles(
            index,
            opened.manifest,
            self.parameters.vocabulary,
            damaged=self._scrub.found,
        )
        self._upkeep = Upkeep(
            files,
            self._contents,
            hydration,
            tail_documents=tuning.tail_documents,
            dropped=self._graves.drop,
        )
        self._background = Background(
            folder.name,
            self._upkeep,
            self._scrub,
            maintenance,
            tail_rows=self._contents.tail_rows,
            tail_documents=tuning.tail_documents,
            scrub_seconds=tuning.scrub_seconds,
            sealed=self._store.checkpoint,
        )
        self._archiving = threading.Lock()
        self._writer = Writer(
            self._store,
            self._contents,
            ready=self._background.wait_for_room,
            written=self._after_writes,
        )
        self._graves.drop(Dropped(self._contents.sequence, opened.orphans))
        self._background.start()

    def close(self, *, seal: bool = True) -> None:
        """Finishes the writes that have begun, ends all background work, and seals what is new, so
        that the next start has nothing to replay.

        Args:
            seal: not worth it when the collection is to be deleted.
        """
        self._efforts.close()
        self._background.release()
        self._writer.close()
        self._background.stop()
        try:
            if seal:
                self._upkeep.seal()
        except SparsegateError as error:
            _log.warning(
                "%s was not sealed: %s", self.folder, error.message
            )  # the store has it all
        finally:
            self._upkeep.close()
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
        return self._writer.submit(self._requests.upsert(documents, request_id, batch))

    def submit_delete(self, target: Target, *, request_id: str = "") -> Future[WriteResult]:
        """Deletes documents; unknown ids are passed over.

        Raises:
            InvalidRequest: an id that is none.
            InvalidFilter: a filter that cannot be understood.
        """
        return self._writer.submit(self._requests.delete(target, request_id), grows=False)

    def submit_set_payload(
        self, target: Target, change: PayloadChange, *, request_id: str = ""
    ) -> Future[WriteResult]:
        """Changes payloads; unknown ids are passed over.

        Raises:
            InvalidRequest, InvalidFilter, InvalidDocument.
        """
        return self._writer.submit(self._requests.set_payload(target, change, request_id))

    def submit_create_index(self, field: str, kind: FieldKind) -> Future[WriteResult]:
        """Declares a payload index.

        Raises:
            InvalidFilter: not the path of a field. InvalidRequest: it has one of another kind, or
                is a text that the collection does not keep.
        """
        return self._change_indexes(self._requests.create_index(field, kind))

    def submit_delete_index(self, field: str) -> Future[WriteResult]:
        """Raises InvalidFilter: not the path of a field."""
        return self._change_indexes(self._requests.delete_index(field))

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
        """Raises NotCalibrated: a target recall, but no calibration."""
        return self._answered(self._reader.search, query, options)

    def search_batch(self, searches: Sequence[tuple[SparseVector, SearchOptions]]) -> list[Outcome]:
        """All of them as of one instant, in the calling thread; an error stands in the place of a
        search that failed."""
        with self.batch(searches, threads=1) as batch:
            return batch.answer(range(len(batch)))

    def batch(
        self, searches: Sequence[tuple[SparseVector, SearchOptions]], *, threads: int
    ) -> Batch:
        """Searches as of now, to be answered in so many threads; see `Reader.batch`."""
        return self._reader.batch(searches, self._answered, threads=threads)

    def explain(
        self, query: SparseVector, document_id: DocumentId, options: SearchOptions
    ) -> Standing:
        """About the exact search, whatever effort the options ask for."""
        self._refuse_if_damaged()
        if not options.exact:
            options = replace(options, effort=1.0, target_recall=None)
        return self._reader.explain(query, document_id, options)

    def calibrate(
        self,
        queries: Sequence[SparseVector],
        limit: int,
        *,
        abandoned: Callable[[], bool] = lambda: False,
    ) -> Calibration:
        """Measures and keeps how much effort a recall takes; see `Efforts`."""
        return self._efforts.calibrate(
            self.search, queries, limit, counts=self.counts, abandoned=abandoned
        )

    @property
    def calibration(self) -> Calibration | None:
        """How much effort a recall takes, where that was measured."""
        return self._efforts.calibration

    def get(
        self, document_ids: Sequence[DocumentId], select: Selection = WHOLE, *, max_bytes: int = 0
    ) -> Fetched:
        self._refuse_if_damaged()
        return self._reader.get(document_ids, select, max_bytes=max_bytes)

    def scroll(
        self,
        after: DocumentId | None,
        limit: int,
        filter: Filter | None = None,
        select: Selection = WHOLE,
        *,
        max_bytes: int = 0,
    ) -> Page:
        self._refuse_if_damaged()
        return self._reader.scroll(after, limit, filter, select, max_bytes=max_bytes)

    def count(self, filter: Filter | None = None) -> Counted:
        self._refuse_if_damaged()
        return self._reader.count(filter)

    def size(self) -> Size:
        """The collection in numbers; looks at its files."""
        return self._figures.size()

    def counts(self) -> Counts:
        """What is cheap to know, without waiting for anything."""
        return self._figures.counts()

    def indexes(self) -> dict[str, tuple[FieldKind, bool]]:
        """Declared payload indexes, and whether they are ready."""
        return self._figures.indexes()

    @property
    def busy(self) -> bool:
        """Whether there is background work left."""
        return self._background.busy

    @property
    def problem(self) -> str:
        """Why background work fails, "" while it does not."""
        return self._background.problem

    # Background work, by hand.

    def seal(self) -> bool:
        """Makes the new documents segments. Returns whether there were any."""
        return self._background.seal()

    def merge(self) -> bool:
        """One merge, if one is due."""
        return self._upkeep.merge()

    def build_indexes(self) -> bool:
        """The columns of one declared payload index, if some are missing."""
        return self._upkeep.index()

    def optimize(self) -> None:
        """Seals, and merges each shard to one segment without dead documents."""
        self.seal()
        self._upkeep.merge(whole=True)
        while self._upkeep.index():
            pass

    def snapshot(self, path: Callable[[], Path]) -> Archived:
        """Writes an archive of all that is committed now to a new file, one at a time.

        Args:
            path: names the file, when its turn has come.
        """
        with self._archiving:
            return write_archive(self._store, path())

    def _change_indexes(self, step: Step) -> Future[WriteResult]:
        changed = self._writer.submit(step, grows=False)
        changed.add_done_callback(lambda _: self._background.wake_merging())
        return changed

    def _after_writes(self) -> None:
        self._background.after_write()
        self._graves.purge()

    def _answered(
        self, search: Search, query: SparseVector, options: SearchOptions
    ) -> SearchResult:
        self._refuse_if_damaged()
        if not options.exact:
            options = self._efforts.resolved(options)
        result = search(query, options)
        return result if options.effort == 1 else replace(result, effort=options.effort)

    def _refuse_if_damaged(self) -> None:
        if self._background.damage:
            # The same error is raised again and again: without the frames that it met before.
            raise self._background.damage.with_traceback(None)


def _calibration_of(store: Store) -> Calibration | None:
    """Raises CorruptStore: it is none; the store is closed then."""
    try:
        return store.calibration()
    except BaseException:
        store.close()
        raise
