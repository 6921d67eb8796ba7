"""The store: its schema, what it remembers, and what it says when the disk or the file fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sparsegate_server.errors import CorruptStore, DataFolderUnusable, InvalidDocument, StorageFull
from sparsegate_server.filters import FieldKind
from sparsegate_server.index import Parameters, recovery
from sparsegate_server.index.store import codec, database, schema
from sparsegate_server.index.store.database import Position, Store
from sparsegate_server.index.store.documents import Encoded, encode
from sparsegate_server.index.values import Record
from sparsegate_server.operations import WriteResult
from sparsegate_server.types import Payload

from .oracle import Vector
from .test_kernels import forward_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    recovery.create(tmp_path / "c", Parameters(12, 2), {"name": "c"})
    return tmp_path / "c"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with closing(Store(folder)) as store:
        yield store


def encoded(
    *vectors: Vector, text: str | None = "é", payload: Payload | None = None
) -> list[Encoded]:
    keys = [b"\0" + number.to_bytes(8, "big") for number in range(len(vectors))]
    records = [Record(text, payload or {"n": 2**63, "f": 0.1})] * len(vectors)
    return list(map(encode, keys, records, codec.write_vectors(forward_of(vectors))))


def insert(store: Store, numbers: list[int], version: int = 1) -> list[Encoded]:
    documents = encoded(*({number % 12: 1.5} for number in numbers))
    store.begin()
    store.insert(documents, numbers, version)
    store.commit()
    return documents


def test_the_database_is_what_the_format_says(folder: Path, store: Store) -> None:
    with closing(sqlite3.connect(folder / schema.FILE)) as tool:
        made = [sql for (sql,) in tool.execute("SELECT sql FROM sqlite_master") if sql]
        assert sorted(made) == sorted(schema.TABLES)
        assert tool.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert tool.execute("PRAGMA application_id").fetchone() == (0x53504721,)
        assert tool.execute("PRAGMA user_version").fetchone() == (1,)
    # FULL: a commit is on the disk when it returns, as no lesser setting promises for a WAL.
    assert store._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    with (
        store._reader() as reader,
        pytest.raises(DataFolderUnusable, match="readonly"),
        store._explained(),
    ):
        reader.execute("DELETE FROM state")


def test_facts_and_position(store: Store) -> None:
    assert store.fact("config") == {"name": "c"}
    assert store.position() == Position(0, 1)
    store.begin()
    store.set_facts(sequence=5, next_number=9)
    store.commit()
    assert store.position() == Position(5, 9)
    with pytest.raises(CorruptStore, match="it has no mood"):
        store.fact("mood")


def test_documents_come_back_as_they_were(store: Store) -> None:
    documents = insert(store, [1, 2, 5])
    found = store.read([5, 1, 99])
    assert found.keys() == {1, 5}
    stored = found[5].check()
    assert (stored.number, stored.key, stored.version) == (5, documents[2].key, 1)
    assert stored.record() == Record("é", {"n": 2**63, "f": 0.1})
    assert codec.read_vectors([stored.vector]).row(0).indices.tolist() == [5]
    sums = stored.checksums
    assert store.read_parts([2], text=True, payload=False)[2][1:] == ("é".encode(), b"{}")
    assert store.read_parts([5], text=False, payload=True) == {5: (sums, None, stored.payload)}
    assert store.greatest_number() == 5


def test_the_dead_are_passed_over_and_purged(folder: Path, store: Store) -> None:
    insert(store, [1, 2, 3, 4])
    store.begin()
    store.bury([2, 4], 7)
    store.commit()
    assert store.tombstones() == [(2, 7), (4, 7)]
    assert [each.number for each in store.live_after(0)] == [1, 3]
    assert [each.number for each in store.live_after(0, 1)] == [1]
    assert [each.number for each in store.live_after(1)] == [3]
    assert store.read([2])[2].number == 2  # who looks at an older view still finds it
    with closing(sqlite3.connect(folder / schema.FILE)) as tool:
        assert tool.execute("SELECT number FROM live ORDER BY number").fetchall() == [(1,), (3,)]
    store.begin()
    store.purge([2])
    store.commit()
    assert store.tombstones() == [(4, 7)]
    assert store.read([2]) == {}


def test_what_is_not_committed_never_was(store: Store) -> None:
    store.begin()
    store.insert(encoded({1: 1.0}), [1], 1)
    assert store.changed
    store.save()
    store.insert(encoded({1: 1.0}), [2], 1)
    store.restore()
    store.save()
    store.insert(encoded({1: 1.0}), [3], 1)
    store.keep()
    store.commit()
    assert sorted(store.read([1, 2, 3])) == [1, 3]
    store.begin()
    assert not store.changed
    store.insert(encoded({1: 1.0}), [4], 1)
    store.rollback()
    assert store.read([4]) == {}


def test_the_last_requests_are_remembered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert database._KEPT_REQUESTS == 10_000
    monkeypatch.setattr(database, "_KEPT_REQUESTS", 3)
    for number in range(5):
        assert store.request(f"r{number}") is None
        store.begin()
        store.remember_request(f"r{number}", b"digest", WriteResult(number, 2))
        store.commit()
    kept = [number for number in range(5) if store.request(f"r{number}")]
    assert kept == [2, 3, 4]
    assert store.request("r4") == (b"digest", WriteResult(4, 2, repeated=True))


def test_the_last_batch_of_a_stream_is_remembered(store: Store) -> None:
    assert store.stream("s") is None
    assert store.stream_batch("s") == 0
    for batch in (1, 2):
        store.begin()
        store.remember_batch("s", batch, WriteResult(10 + batch, 1))
        store.commit()
    assert store.stream("s") == (2, WriteResult(12, 1, repeated=True))
    assert (store.stream_batch("s"), store.stream_batch("t")) == (2, 0)


def test_payload_indexes_are_declared_and_dropped(store: Store) -> None:
    store.begin()
    store.declare_index("a.b", FieldKind.NUMBER, 1)
    store.declare_index("c", FieldKind.TEXT, 2)
    store.drop_index("c")
    store.commit()
    assert store.indexes() == {"a.b": FieldKind.NUMBER}


@pytest.mark.parametrize("payload", [{"a": float("nan")}, {"a": "\ud800"}, {"a": {1, 2}}])
def test_a_payload_that_json_cannot_say_is_refused(payload: Payload) -> None:
    with pytest.raises(InvalidDocument) as caught:
        encoded({1: 1.0}, payload=payload)
    assert caught.value.field == "payload"
    with pytest.raises(InvalidDocument) as caught:
        encoded({1: 1.0}, text="\ud800")
    assert caught.value.field == "text"


def test_a_missing_text_is_not_an_empty_one() -> None:
    assert encoded({1: 1.0}, text=None)[0].checksums != encoded({1: 1.0}, text="")[0].checksums


@pytest.mark.parametrize("column", ["key", "text", "payload", "vector", "checksums"])
def test_a_changed_document_does_not_fit_its_checksum(
    column: str, folder: Path, store: Store
) -> None:
    insert(store, [1])
    changed = {"text": "'e'", "payload": "'{}'"}.get(column, "x'0102'")
    with closing(sqlite3.connect(folder / schema.FILE, isolation_level=None)) as tool:
        tool.execute(f"UPDATE documents SET {column} = {changed}")  # noqa: S608
    with pytest.raises(CorruptStore, match="is damaged in the store: delete it and send it again"):
        store.read([1])[1].check()


# Files that are no store.


def refused(folder: Path, what: str) -> None:
    with pytest.raises(CorruptStore, match=what) as caught:
        Store(folder)
    assert str(folder / schema.FILE) in caught.value.message
    assert "snapshot" in caught.value.message


def test_a_missing_or_foreign_database_is_refused(folder: Path) -> None:
    path = folder / schema.FILE
    path.unlink()
    refused(folder, "is missing")
    path.write_bytes(b"text" * 5000)
    refused(folder, "not a database")
    path.write_bytes(b"")
    refused(folder, "not a store of Sparsegate")
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE state (name, value)")
    refused(folder, "not a store of Sparsegate")


def test_a_store_of_a_newer_version_is_refused(folder: Path) -> None:
    with closing(sqlite3.connect(folder / schema.FILE)) as tool:
        tool.execute("PRAGMA user_version = 2")
    with pytest.raises(DataFolderUnusable, match="format 2, this program knows 1"):
        Store(folder)


def test_a_truncated_database_is_refused(folder: Path) -> None:
    with closing(Store(folder)) as store:
        insert(store, list(range(1, 500)))
    path = folder / schema.FILE
    whole = path.read_bytes()
    for length in (50, 4096, 8192, len(whole) - 4096):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptStore) as caught, closing(Store(folder)) as store:
            store.check()
        assert str(path) in caught.value.message


def test_a_full_disk_is_named_and_nothing_of_the_write_remains(store: Store) -> None:
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    store._writer.execute(f"PRAGMA max_page_count = {pages + 1}")
    store.begin()
    with pytest.raises(StorageFull, match=r"no room left on the disk of .*store\.db") as caught:
        store.insert(encoded(*[{1: 1.0}] * 300), list(range(1, 301)), 1)
    assert caught.value.retry_after
    store.rollback()
    assert store.greatest_number() == 0
    store._writer.execute(f"PRAGMA max_page_count = {pages + 1000}")
    insert(store, list(range(1, 301)))
    assert store.greatest_number() == 300


def test_a_copy_holds_what_is_committed(folder: Path, store: Store, tmp_path: Path) -> None:
    insert(store, [1, 2])
    store.copy(tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT number FROM documents").fetchall() == [(1,), (2,)]
    assert store.bytes() >= (folder / schema.FILE).stat().st_size
    store.checkpoint()
    store.check()
