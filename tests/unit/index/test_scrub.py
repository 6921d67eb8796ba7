"""The background scrub finds damage, and the collection refuses to read over it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sparsegate_server.errors import CorruptIndex
from sparsegate_server.index import Collection, Maintenance, Parameters, Tuning, recovery
from sparsegate_server.operations import Document, SearchOptions

from .oracle import sparse

QUERY = sparse({1: 1.0})


def flip(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


def test_a_rotten_file_is_found_and_reads_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    recovery.create(folder, Parameters(8), {})
    maintenance = Maintenance()
    collection = Collection(folder, Tuning(scrub_seconds=0.05), maintenance=maintenance)
    try:
        collection.upsert([Document(number, sparse({1: 1.0})) for number in range(50)])
        collection.seal()
        (file,) = (folder / recovery.INDEX).glob("*.segment")
        time.sleep(0.3)  # several rounds over sound files
        assert collection.problem == ""
        assert collection.search(QUERY, SearchOptions(1)).hits
        flip(file, file.stat().st_size // 2)
        deadline = time.monotonic() + 30
        while not collection.problem and time.monotonic() < deadline:
            time.sleep(0.02)
        assert file.name in collection.problem
        for read in (
            lambda: collection.search(QUERY, SearchOptions(1)),
            lambda: collection.explain(QUERY, 1, SearchOptions(1)),
            lambda: collection.get([1]),
            lambda: collection.scroll(None, 1),
            collection.count,
        ):
            with pytest.raises(CorruptIndex, match="index rebuild"):
                read()
        written = collection.upsert([Document(99, sparse({1: 2.0}))])  # the store takes it
        assert written.sequence == 2
    finally:
        collection.close()
        maintenance.close()
    assert recovery.rebuild(folder) == 51
    again = Collection(folder)
    assert again.search(QUERY, SearchOptions(1)).hits[0].id == 99
    again.close()


def test_a_file_that_a_merge_has_deleted_is_no_damage(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    recovery.create(folder, Parameters(8), {})
    collection = Collection(folder)
    for number in range(3):
        collection.upsert([Document(number, sparse({1: 1.0}))])
        collection.seal()
    collection._scrub.begin()
    collection.optimize()
    while collection._scrub.step():
        pass
    assert collection._scrub.damage is None
    collection.close()
