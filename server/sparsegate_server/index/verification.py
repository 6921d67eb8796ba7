"""Whether the files of a collection are sound, and its index shows what its store holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sparsegate_server.errors import CorruptIndex, SparsegateError
from sparsegate_server.index import ids, recovery, segment_file
from sparsegate_server.index.files.manifest import NAME, Manifest, read_manifest
from sparsegate_server.index.part import ALIVE
from sparsegate_server.index.store import schema
from sparsegate_server.index.store.database import Store


def verify(folder: Path, report: Callable[[str, str], object]) -> bool:
    """Reads all files of a collection that nobody has open; what they say stays as it is.

    Args:
        report: called with a file and what is wrong with it, "" if nothing is.

    Returns:
        Whether all is well.
    """
    sound = True

    def check(name: str, work: Callable[[], str]) -> None:
        nonlocal sound
        try:
            problem = work()
        except SparsegateError as error:
            problem = error.message
        sound = sound and not problem
        report(name, problem)

    store = Store(folder)
    try:
        check(schema.FILE, lambda: _check_store(store))
        index = folder / recovery.INDEX
        try:
            manifest = read_manifest(index)
        except CorruptIndex as error:
            report(NAME, error.message)
            return False
        report(NAME, "")
        for name in sorted(manifest.files):
            check(name, lambda path=index / name: segment_file.damage(path))  # type: ignore[misc]
        if sound:
            check("index against store", lambda: _compare(index, store, manifest))
        return sound
    finally:
        store.close()


def _check_store(store: Store) -> str:
    store.check()
    parameters = recovery.parameters_of(store)
    for _ in recovery.rows_after(store, 0, parameters.vocabulary):
        pass
    return "holds two documents with one id" if store.repeats() else ""


def _compare(index: Path, store: Store, manifest: Manifest) -> str:
    """Whether the segments hold just the live documents up to the last seal, with their vectors."""
    parameters = recovery.parameters_of(store)
    segments = [
        each for shard in recovery.segments_of(index, manifest, parameters) for each in shard
    ]
    recovery.mark_dead(segments, store.tombstones())
    place = {
        number: (segment, row)
        for segment in segments
        for row, number in enumerate(segment.details.numbers.tolist())
        if segment.deaths.dead[row] == ALIVE
    }
    for rows in recovery.rows_after(store, 0, parameters.vocabulary):
        for at, number in enumerate(rows.numbers):
            if number > manifest.sealed:
                continue
            segment, row = place.pop(number, (None, -1))
            if segment is None or segment.key(row) != rows.keys[at]:
                return f"no segment holds the document {ids.decode(rows.keys[at])!r}"
            mine, theirs = segment.vector(row), rows.forward.row(at)
            if mine.indices.tobytes() != theirs.indices.tobytes() or (
                mine.values.tobytes() != theirs.values.tobytes()
            ):
                return f"the vector of {ids.decode(rows.keys[at])!r} differs"
    return f"{len(place)} documents are in segments but not in the store" if place else ""
