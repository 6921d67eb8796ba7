"""Bits that a disk has changed, in the store and in the index, and who notices."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sparsegate_server.errors import CorruptIndex, CorruptStore
from sparsegate_server.filters import Filter, Match
from sparsegate_server.index import Collection, Parameters, ids, recovery
from sparsegate_server.index.store import schema
from sparsegate_server.operations import Document, SearchOptions, Selection

from .oracle import sparse

QUERY = sparse({1: 1.0})
TEXT, PAYLOAD = Selection(text=True), Selection(payload=True)


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    """Ten sealed documents."""
    folder = tmp_path / "films"
    recovery.create(folder, Parameters(8), {})
    with closing(Collection(folder)) as collection:
        collection.upsert(
            [
                Document(number, sparse({1: number + 1.0}), f"text {number}", {"n": number})
                for number in range(10)
            ]
        )
        collection.seal()
        yield collection


def change(collection: Collection, what: str, id: int) -> None:
    key = ids.encode(id)
    path = collection.folder / schema.FILE
    with closing(sqlite3.connect(path, isolation_level=None)) as tool:
        tool.execute(f"UPDATE documents SET {what} WHERE key = ?", (key,))  # noqa: S608


def test_a_changed_text_or_payload_is_not_returned(collection: Collection) -> None:
    change(collection, "text = 'tex! 3'", 3)
    change(collection, """payload = '{"n":4444}'""", 4)
    damaged = r"document 3 is damaged in the store: delete it and send it again"
    with pytest.raises(CorruptStore, match=damaged):
        collection.get([3], TEXT)
    with pytest.raises(CorruptStore, match=damaged):
        collection.search(QUERY, SearchOptions(10, select=TEXT))
    with pytest.raises(CorruptStore, match="document 4"):
        collection.count(Filter(must=(Match("n", (4,)),)))
    # What is sound is returned, also of the same documents.
    assert collection.get([3], PAYLOAD).documents[0].payload == {"n": 3}
    assert collection.get([4], TEXT).documents[0].text == "text 4"
    assert len(collection.search(QUERY, SearchOptions(10)).hits) == 10
    # The advice works.
    collection.delete([3, 4])
    collection.upsert([Document(3, sparse({1: 1.0}), "text 3", {"n": 3})])
    assert collection.get([3], TEXT).documents[0].text == "text 3"
    assert len(collection.search(QUERY, SearchOptions(10, select=TEXT)).documents) == 9


@pytest.mark.parametrize("what", ["text = 'tex! 3'", "text = NULL", "vector = x'020100'"])
def test_an_archive_that_could_not_be_restored_is_not_written(
    collection: Collection, tmp_path: Path, what: str
) -> None:
    change(collection, what, 3)
    with pytest.raises(CorruptStore, match="document 3 is damaged"):
        collection.snapshot(lambda: tmp_path / "archive")
    assert not list(tmp_path.glob("archive*"))


def test_the_scrub_reads_the_store_as_well(collection: Collection) -> None:
    scrub = collection._scrub
    change(collection, "vector = x'020100'", 3)
    scrub.begin()
    while scrub.step():
        pass
    assert "document 3 is damaged" in collection.problem
    assert collection.search(QUERY, SearchOptions(1)).hits  # the index has its own copy
    collection.delete([3])
    scrub.begin()
    while scrub.step():
        pass
    assert collection.problem == ""


def test_a_merge_that_meets_damage_stops_the_reads(collection: Collection) -> None:
    (path,) = (collection.folder / recovery.INDEX).glob("*.segment")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    collection.delete([3])
    with pytest.raises(CorruptIndex, match=path.name):
        collection.optimize()
    assert path.name in collection.problem
    with pytest.raises(CorruptIndex, match=path.name):
        collection.search(QUERY, SearchOptions(1))


def test_all_files_are_their_owners_alone(collection: Collection, tmp_path: Path) -> None:
    collection.snapshot(lambda: tmp_path / "archive")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"store.db", "store.db-wal", "MANIFEST", "archive"} <= {path.name for path in files}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
