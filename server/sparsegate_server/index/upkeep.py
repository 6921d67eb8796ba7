"""Background work on one collection: sealing tails, merging segments, making payload columns.

Each changes the set of files in the same order: new files are written and synced, the folder is
synced, the manifest is replaced, the new view is published, old files are deleted. A crash at any
point leaves a manifest whose files are all there; files that none names are deleted at the next
start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.filters import TEXT_FIELD, FieldKind
from sparsegate_server.index import merge
from sparsegate_server.index.columns import column_of
from sparsegate_server.index.contents import Contents
from sparsegate_server.index.files.manifest import Manifest, SegmentFile
from sparsegate_server.index.graves import Dropped
from sparsegate_server.index.hydration import Hydration
from sparsegate_server.index.index_files import IndexFiles
from sparsegate_server.index.segment import Merged, Segment, merged
from sparsegate_server.index.tail import Tail
from sparsegate_server.index.values import Record

_BATCH = 2_000
"""Documents that are read from the store at a time."""


class _Sealed(NamedTuple):
    tail: Tail
    segment: Segment | None
    destination: NDArray[np.int64]


class Upkeep:
    """Each method does one piece of work, if there is any, and may be called from any thread; of
    each kind one runs at a time.

    Args:
        tail_documents: about how many documents a sealed segment has at least.
        dropped: is told which documents may be purged from the store.
    """

    def __init__(
        self,
        files: IndexFiles,
        contents: Contents,
        hydration: Hydration,
        *,
        tail_documents: int,
        dropped: Callable[[Dropped], None],
    ) -> None:
        self._files = files
        self._contents = contents
        self._hydration = hydration
        self._through = 0
        self._tail_documents = tail_documents
        self._dropped = dropped
        self._sealing = threading.Lock()
        self._merging = threading.Lock()

    def close(self) -> None:
        """Ends the work that is under way, whoever asked for it, at its next step, and returns when
        it has ended: from then on no file is touched, and the folder may be another's."""
        self._files.close()
        with self._sealing, self._merging:
            pass

    def due(self) -> bool:
        """Whether the tails are full."""
        return self._contents.tail_rows() >= self._tail_documents

    @property
    def interrupted(self) -> bool:
        """Whether a seal has failed and is to be tried again."""
        return any(shard.frozen for shard in self._contents.shards)

    def seal(self) -> bool:
        """Makes the tails of all shards segments. Returns whether there was anything to seal.

        Raises:
            StorageFull, DataFolderUnusable: the documents stay in the tails, and in the store.
        """
        with self._sealing, self._files.piece():
            through = self._freeze()
            if through is None:
                return False
            sequence = self._contents.published.view.sequence
            sealed = [self._sealed(shard.frozen, sequence) for shard in self._contents.shards]
            added = [
                SegmentFile(number, each.segment.file, each.segment.column_files)
                for number, each in enumerate(sealed)
                if each and each.segment
            ]
            with self._files.swapping:
                segments = (*self._files.manifest.segments, *added)
                self._swap(replace(self._files.manifest, segments=segments, sealed=through))
                self._install(sealed)
            return True

    def merge(self, *, whole: bool = False) -> bool:
        """Merges the segments of one shard that have become too many or too dead.

        Args:
            whole: merge every shard's segments to one, if there are more or any document is dead;
                each shard once, however many documents die meanwhile.

        Returns:
            Whether there was anything to merge.

        Raises:
            CorruptIndex: a segment's file is damaged; its documents stay as they are.
            StorageFull, DataFolderUnusable.
        """
        with self._merging, self._files.piece():
            done = False
            for number, shard in enumerate(self._contents.shards):
                with self._contents.lock:
                    segments = list(shard.segments)
                chosen = _all_of(segments) if whole else self._planned(segments)
                if chosen:
                    self._merge(number, chosen)
                    done = True
                    if not whole:
                        break
            return done

    def index(self) -> bool:
        """Makes the columns of one declared field that segments lack, or drops those of fields that
        are not declared any more. Returns whether there was anything to do."""
        with self._merging, self._files.piece():
            with self._contents.lock:
                declared = dict(self._contents.indexes)
                segments = [each for shard in self._contents.shards for each in shard.segments]
            for name in {name for each in segments for name in each.columns}:
                kind = declared.get(name)
                stale = [
                    each
                    for each in segments
                    if name in each.columns and (kind is None or not each.has_column(name, kind))
                ]
                if stale:
                    self._exchange({each: each.without_column(name) for each in stale})
                    return True
            for name, kind in declared.items():
                lacking = [each for each in segments if name not in each.columns]
                if lacking:
                    self._exchange({each: self._with_column(each, name, kind) for each in lacking})
                    return True
            return False

    def _freeze(self) -> int | None:
        """Sets the tails aside; the number up to which documents are in them or in segments."""
        contents = self._contents
        with contents.lock:
            waiting = any(shard.frozen for shard in contents.shards)
            if not waiting:
                if not contents.tail_rows():
                    return None
                self._through = contents.next_number - 1
                for shard in contents.shards:
                    shard.frozen, shard.tail = shard.tail, contents.new_tail()
                contents.publish()
            return self._through

    def _sealed(self, tail: Tail | None, sequence: int) -> _Sealed | None:
        """A tail as a segment with a file."""
        if tail is None:
            return None
        segment, destination = tail.sealed(self._contents.vocabulary, sequence)
        if segment is None:
            return _Sealed(tail, None, destination)
        rows = np.flatnonzero(destination >= 0)
        records = [tail.records[row] for row in rows[np.argsort(destination[rows])].tolist()]
        segment = self._files.write_segment(segment)
        for name, kind in list(self._contents.indexes.items()):
            segment = self._files.write_column(segment, name, column_of(kind, name, records))
        return _Sealed(tail, segment, destination)

    def _install(self, sealed: Sequence[_Sealed | None]) -> None:
        contents = self._contents
        gone = []
        with contents.lock:
            for shard, each in zip(contents.shards, sealed, strict=True):
                shard.frozen = None
                if each is None:
                    continue
                if each.segment:
                    each.tail.carry_over(each.segment, each.destination)
                    shard.segments = [*shard.segments, each.segment]
                gone.append(each.tail.dropped(each.destination))
            contents.publish()
            sequence = contents.sequence
        self._dropped(Dropped(sequence, np.concatenate([*gone, np.empty(0, np.int64)])))

    def _planned(self, segments: Sequence[Segment]) -> list[Segment]:
        weights = [merge.Weight(each.rows, each.deaths.count) for each in segments]
        return [segments[place] for place in merge.plan(weights, self._tail_documents)]

    def _merge(self, number: int, sources: Sequence[Segment]) -> None:
        shard = self._contents.shards[number]
        for each in sources:
            self._files.check(each)  # what is damaged must not go on under a fresh checksum
        result = merged(
            sources,
            self._contents.vocabulary,
            self._contents.published.view.sequence,
            dict(self._contents.indexes),
        )
        if result.segment:
            written = self._files.write_segment(result.segment)
            for name, column in result.segment.columns.items():
                written = self._files.write_column(written, name, column)
            result = Merged(written, result.destinations)
        added = [result.segment] if result.segment else []
        with self._files.swapping:
            names = {each.file for each in sources}
            kept = [each for each in self._files.manifest.segments if each.file not in names]
            files = [SegmentFile(number, each.file, each.column_files) for each in added]
            self._swap(replace(self._files.manifest, segments=(*kept, *files)))
            with self._contents.lock:
                result.carry_over(sources)
                shard.segments = [each for each in shard.segments if each not in sources] + added
                self._contents.publish()
                sequence = self._contents.sequence
        self._files.delete(_files_of(sources))
        self._dropped(Dropped(sequence, result.dropped(sources)))

    def _exchange(self, changed: dict[Segment, Segment]) -> None:
        """Puts segments that differ in their columns alone in the place of others."""
        by_file = {old.file: new for old, new in changed.items()}
        with self._files.swapping:
            segments = tuple(
                SegmentFile(each.shard, each.file, by_file[each.file].column_files)
                if each.file in by_file
                else each
                for each in self._files.manifest.segments
            )
            self._swap(replace(self._files.manifest, segments=segments))
            with self._contents.lock:
                for shard in self._contents.shards:
                    shard.segments = [changed.get(each, each) for each in shard.segments]
                self._contents.publish()
        self._files.delete(_files_of(changed.keys()) - _files_of(changed.values()))

    def _with_column(self, segment: Segment, name: str, kind: FieldKind) -> Segment:
        records = self._records(segment, text=name == TEXT_FIELD)
        return self._files.write_column(segment, name, column_of(kind, name, records))

    def _records(self, segment: Segment, *, text: bool) -> Iterable[Record]:
        for start in range(0, segment.rows, _BATCH):
            rows = range(start, min(start + _BATCH, segment.rows))
            places = [(segment, row) for row in rows]
            yield from self._hydration.records(places, text=text, payload=not text)

    def _swap(self, manifest: Manifest) -> None:
        self._files.swap(manifest, self._contents.published.view.sequence)


def _all_of(segments: Sequence[Segment]) -> list[Segment]:
    if len(segments) > 1 or any(each.deaths.count for each in segments):
        return list(segments)
    return []


def _files_of(segments: Iterable[Segment]) -> set[str]:
    return {name for each in segments for name in (each.file, *each.column_files.values())}
