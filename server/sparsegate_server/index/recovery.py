"""From a folder to a collection in memory: create, open, rebuild.

    store.db        the truth; see `store/schema.py`
    index/MANIFEST  which of the files beside it make up the index
    index/*.segment, index/*.column

Opening takes the segments that the manifest names, marks the documents dead whose numbers the store
lists as tombstones, and reads from the store what was written after the last seal.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.errors import CorruptStore, SparsegateError
from sparsegate_server.index import ids, segment_file
from sparsegate_server.index.contents import Contents
from sparsegate_server.index.files.container import Damaged
from sparsegate_server.index.files.durable import explained, sync_folder
from sparsegate_server.index.files.manifest import (
    NAME,
    Manifest,
    SegmentFile,
    read_manifest,
    write_manifest,
)
from sparsegate_server.index.rows import Rows
from sparsegate_server.index.segment import Segment
from sparsegate_server.index.store import codec, schema
from sparsegate_server.index.store.database import Store
from sparsegate_server.index.store.documents import Stored

INDEX: Final = "index"
_OURS: Final = re.compile(r"\d{8}\.(segment|column)|" + NAME + r"\.new")
_CHUNK: Final = 2**16
"""Documents that are read from the store and inverted at a time by a rebuild."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is fixed when a collection is created.

    Attributes:
        vocabulary: term ids are below it.
        shards: number of parts, by hash of the id.
        keep_text: whether texts are stored.
    """

    vocabulary: int
    shards: int = 1
    keep_text: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """Attributes:
    orphans: numbers of dead documents in the store that no part holds.
    """

    parameters: Parameters
    store: Store
    manifest: Manifest
    contents: Contents
    orphans: NDArray[np.int64]


def create(folder: Path, parameters: Parameters, config: Mapping[str, Any]) -> None:
    """Makes an empty collection in a new folder, all of it durable but the folder's own name.

    Args:
        config: what the caller wants to find again with `read_config`.
    """
    with explained(folder):
        folder.mkdir()
        schema.create(folder / schema.FILE)
        collection = uuid.uuid4().hex
        store = Store(folder)
        try:
            store.begin()
            store.set_facts(
                collection=collection,
                parameters=asdict(parameters),
                config=config,
                sequence=0,
                next_number=1,
            )
            store.commit()
        finally:
            store.close()
        (folder / INDEX).mkdir()
        write_manifest(folder / INDEX, Manifest(collection))
        sync_folder(folder)


def read_config(folder: Path) -> dict[str, Any]:
    """Raises CorruptStore: the store is missing, foreign or damaged."""
    store = Store(folder)
    try:
        config = store.fact("config")
        if not isinstance(config, dict):
            raise schema.damaged(store.path, "its config is none")
        return config
    finally:
        store.close()


def parameters_of(store: Store) -> Parameters:
    """Raises CorruptStore: they are none."""
    stored = store.fact("parameters")
    try:
        parameters = Parameters(**stored)
    except TypeError as error:
        raise schema.damaged(store.path, "its parameters are none") from error
    types = (type(parameters.vocabulary), type(parameters.shards), type(parameters.keep_text))
    if types != (int, int, bool) or parameters.vocabulary < 1 or parameters.shards < 1:
        raise schema.damaged(store.path, "its parameters are none")
    return parameters


def read_parameters(folder: Path) -> Parameters:
    """Raises CorruptStore: the store is missing, foreign or damaged."""
    store = Store(folder)
    try:
        return parameters_of(store)
    finally:
        store.close()


def open_folder(folder: Path, *, threads: int = 1) -> Opened:
    """Raises CorruptStore, CorruptIndex: a file is missing, foreign or damaged."""
    with explained(folder):
        store = Store(folder)
        try:
            return _opened(folder / INDEX, store, threads)
        except BaseException:
            store.close()
            raise


def _opened(index: Path, store: Store, threads: int) -> Opened:
    parameters = parameters_of(store)
    manifest = read_manifest(index)
    position = store.position()
    _check_match(index, store, manifest, position.sequence)
    segments = segments_of(index, manifest, parameters)
    orphans = mark_dead([each for shard in segments for each in shard], store.tombstones())
    contents = Contents(
        parameters.vocabulary,
        segments,
        sequence=position.sequence,
        # A seal counts the numbers of failed writes in, which the store has never heard of.
        next_number=max(position.next_number, manifest.sealed + 1),
        indexes=store.indexes(),
        threads=threads,
    )
    for rows in rows_after(store, manifest.sealed, parameters.vocabulary):
        contents.add(rows, position.sequence, [])
    contents.publish()
    _delete_strays(index, manifest)
    return Opened(parameters, store, manifest, contents, orphans)


def _check_match(index: Path, store: Store, manifest: Manifest, sequence: int) -> None:
    if manifest.collection != store.fact("collection"):
        raise Damaged(index / NAME, "belongs to another collection")
    if manifest.sequence > sequence:
        raise CorruptStore(
            f"{store.path} ends with write {sequence}, but the index has seen {manifest.sequence}:"
            " the write-ahead log beside it (store.db-wal) was damaged or lost; put it back, or"
            " restore the collection's last snapshot",
            metadata={"file": str(store.path)},
        )


def segments_of(index: Path, manifest: Manifest, parameters: Parameters) -> list[list[Segment]]:
    shards: list[list[Segment]] = [[] for _ in range(parameters.shards)]
    for each in manifest.segments:
        path = index / each.file
        if not 0 <= each.shard < parameters.shards:
            raise Damaged(index / NAME, f"names a shard {each.shard}")
        segment = segment_file.open_segment(path, manifest.collection, parameters.vocabulary)
        for name, file in each.columns.items():
            column = segment_file.open_column(
                index / file, manifest.collection, each.file, segment.rows
            )
            segment = segment.with_column(name, column, file)
        shards[each.shard].append(segment)
    return shards


def mark_dead(
    segments: Sequence[Segment], tombstones: Sequence[tuple[int, int]]
) -> NDArray[np.int64]:
    """Buries dead documents; returns the numbers of those that no segment holds."""
    table = np.array(tombstones, np.int64).reshape(-1, 2)
    numbers, sequences = table[:, 0], table[:, 1]
    here = np.zeros(len(numbers), bool)
    if not len(numbers):
        return numbers
    for segment in segments:
        at = np.searchsorted(numbers, segment.details.numbers)
        at[at == len(numbers)] = 0
        rows = np.flatnonzero(numbers[at] == segment.details.numbers)
        segment.deaths.bury(rows, sequences[at[rows]])
        here[at[rows]] = True
    return numbers[~here]


def rows_after(store: Store, number: int, vocabulary: int) -> Iterator[Rows]:
    """Documents with greater numbers, in pieces, checked.

    Raises:
        CorruptStore: see `_rows`; or a damaged tree that leads in circles.
    """
    while stored := store.live_after(number, _CHUNK):
        for each in stored:
            if each.number <= number:
                raise schema.damaged(store.path, "its documents are out of order")
            number = each.number
        yield _rows(store, stored, vocabulary)


def _rows(store: Store, stored: Sequence[Stored], vocabulary: int) -> Rows:
    """Raises CorruptStore: a document that does not fit its checksum, or that no write could have
    made."""
    try:
        forward = codec.read_vectors([each.check().vector for each in stored])
        forward.check(vocabulary)
        records = [each.record() for each in stored]
        for each in records:
            codec.write_payload(each.payload)
        return Rows(
            [_known(each.key) for each in stored],
            records,
            [(len(each.text or b""), len(each.payload)) for each in stored],
            forward.stored(vocabulary),
            [each.number for each in stored],
        )
    except CorruptStore:
        raise
    except (ValueError, TypeError, RecursionError, SparsegateError) as error:
        raise schema.damaged(store.path, f"a document that is none: {error}") from error


def _known(key: bytes) -> bytes:
    """Raises ValueError or InvalidRequest: not the bytes of an id."""
    if ids.encode(ids.decode(key)) != key:
        raise ValueError("bytes that are no id")
    return key


def _delete_strays(index: Path, manifest: Manifest) -> None:
    """Files that a crash has left behind, before the manifest named them or after."""
    for path in index.iterdir():
        if _OURS.fullmatch(path.name) and path.name not in manifest.files:
            path.unlink()


def rebuild(folder: Path, report: Callable[[int], object] = lambda _: None) -> int:
    """Makes the index anew from the store. The old one holds until the new one is complete.

    Args:
        report: called with the number of documents done so far.

    Returns:
        How many documents there are.

    Raises:
        CorruptStore: the store itself is damaged.
    """
    with explained(folder):
        index = folder / INDEX
        index.mkdir(exist_ok=True)
        store = Store(folder)
        try:
            parameters = parameters_of(store)
            collection = store.fact("collection")
            position = store.position()
            names = _fresh_names(index)
            files: list[SegmentFile] = []
            done = 0
            for rows in rows_after(store, 0, parameters.vocabulary):
                for shard, segment in _inverted(rows, parameters):
                    name = next(names)
                    segment_file.write_segment(
                        index / name, segment, collection, parameters.vocabulary
                    )
                    files.append(SegmentFile(shard, name))
                done += len(rows.keys)
                report(done)
            sync_folder(index)
            manifest = Manifest(
                collection, 1, position.next_number - 1, position.sequence, tuple(files)
            )
            write_manifest(index, manifest)
            sync_folder(folder)
            _delete_strays(index, manifest)
            return done
        finally:
            store.close()


def _fresh_names(index: Path) -> Iterator[str]:
    taken = [int(path.stem) for path in index.iterdir() if path.stem.isdecimal()]
    number = max(taken, default=0)
    while True:
        number += 1
        yield f"{number:08d}.segment"


def _inverted(rows: Rows, parameters: Parameters) -> Iterator[tuple[int, Segment]]:
    """A segment for every shard that has some of the rows."""
    by_shard: defaultdict[int, list[int]] = defaultdict(list)
    for at in sorted(range(len(rows.keys)), key=rows.keys.__getitem__):
        by_shard[ids.shard_of(rows.keys[at], parameters.shards)].append(at)
    for shard, places in by_shard.items():
        mine = rows.take(places)
        yield shard, Segment.of(mine, np.zeros(len(places), np.uint64), parameters.vocabulary)


def index_bytes(folder: Path) -> int:
    """Size of the index's files."""
    total = 0
    for path in (folder / INDEX).glob("*"):
        with contextlib.suppress(FileNotFoundError):  # a merge has deleted it meanwhile
            total += path.stat().st_size
    return total


def remove(folder: Path) -> None:
    """Deletes a collection's folder."""
    shutil.rmtree(folder, ignore_errors=True)
