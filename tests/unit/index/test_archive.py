"""Archives: what was packed comes out, and a stranger's archive gets nothing past the door."""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsegate_server.errors import SnapshotRefused, SparsegateError, StorageFull
from sparsegate_server.filters import FieldKind
from sparsegate_server.index import archive
from sparsegate_server.index.store import codec, schema

from .opening import assert_holds, document, documents, hits, opened, sound
from .oracle import Model, Stored

MODEL: Model = {
    key: Stored({key % 12: 1.0 + key, 3: 0.5}, f"text {key}", {"n": key}) for key in range(20)
}
MOST = 2**20


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    with opened(tmp_path / "c", shards=2) as collection:
        collection.create_index("n", FieldKind.NUMBER)
        collection.upsert([document(key, {1: 1.0}) for key in range(25)])
        collection.seal()
        collection.upsert(documents(MODEL))
        collection.delete(list(range(20, 25)))
        archived = collection.snapshot(lambda: tmp_path / "a.snapshot")
        assert archived == archive.Archived(4, 20, {"name": "test"})
    return tmp_path / "a.snapshot"


def test_an_archive_holds_the_collection(packed: Path, tmp_path: Path) -> None:
    assert archive.read_facts(packed) == archive.Archived(4, 20, {"name": "test"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.snapshot", "c"]
    folder = tmp_path / "restored"
    archive.restore(packed, folder, {"name": "new"}, most_bytes=MOST)
    assert sound(folder) == []
    with opened(folder) as collection, opened(tmp_path / "c") as original:
        assert_holds(collection, MODEL)
        for query in ({1: 1.0, 3: 2.0}, {5: 1e-6}):
            assert hits(collection, query, 50) == hits(original, query, 50)
        assert collection.size().sequence == 4
        assert collection.size().tombstones == 0
        assert collection.indexes() == {"n": (FieldKind.NUMBER, False)}
        assert collection.upsert([document(1, {1: 1.0})]).sequence == 5
    with closing(sqlite3.connect(folder / schema.FILE)) as tool:
        (config,) = tool.execute("SELECT value FROM state WHERE name = 'config'").fetchone()
        assert json.loads(config) == {"name": "new"}


def test_an_existing_folder_is_left_alone(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(SparsegateError, match="cannot use"):
        archive.restore(packed, tmp_path / "c", {}, most_bytes=MOST)
    with opened(tmp_path / "c") as collection:
        assert_holds(collection, MODEL)


def refused(path: Path, what: str = ".", most_bytes: int = MOST) -> None:
    """Nothing is made of it."""
    folder = path.with_name("refused")
    with pytest.raises(SnapshotRefused, match=what) as caught:
        archive.restore(path, folder, {"name": "x"}, most_bytes=most_bytes)
    assert caught.value.field == "snapshot"
    assert not folder.exists()


Members = list[tuple[str, bytes]]


def members(path: Path) -> Members:
    with zipfile.ZipFile(path) as opened_archive:
        return [(name, opened_archive.read(name)) for name in opened_archive.namelist()]


def pack(path: Path, content: Members, method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, data in content:
            made.writestr(name, data)


def test_what_is_no_archive_is_refused(packed: Path) -> None:
    whole = packed.read_bytes()
    for content in (b"", b"text", whole[:-1], whole[: len(whole) // 2], whole[100:]):
        packed.write_bytes(content)
        refused(packed, "cannot be read")
        with pytest.raises(SnapshotRefused):
            archive.read_facts(packed)


@pytest.mark.parametrize(
    "names",
    [
        ["snapshot.json", "../store.db"],
        ["snapshot.json", "/store.db"],
        ["snapshot.json", "store.db", "more"],
        ["snapshot.json", "store.db", "index/MANIFEST"],
        ["snapshot.json"],
        ["store.db"],
        [],
    ],
)
def test_other_members_are_refused(names: list[str], packed: Path, tmp_path: Path) -> None:
    content = dict(members(packed))
    before = set(tmp_path.parent.iterdir())
    pack(packed, [(name, content.get(Path(name).name, b"x")) for name in names])
    refused(packed, "other names")
    assert set(tmp_path.parent.iterdir()) == before


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_comes_twice_is_refused(packed: Path) -> None:
    content = members(packed)
    pack(packed, [*content, content[1]])
    refused(packed, "other names")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_packing_are_refused(method: int, packed: Path) -> None:
    pack(packed, members(packed), method)
    refused(packed, "unusual way")


def test_an_encrypted_archive_is_refused(packed: Path) -> None:
    raw = bytearray(packed.read_bytes())
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    packed.write_bytes(raw)
    refused(packed, "encrypted")


def test_a_bomb_is_refused_by_what_it_admits_to(packed: Path) -> None:
    (facts, _) = members(packed)
    pack(packed, [facts, ("store.db", bytes(50 * MOST))])
    assert packed.stat().st_size < MOST
    refused(packed, r"has 52428800 bytes, more than the 1048576 allowed")


def test_a_bomb_that_lies_is_unpacked_no_further_than_it_said(packed: Path) -> None:
    (facts, _) = members(packed)
    pack(packed, [facts, ("store.db", bytes(50 * MOST))])
    raw = bytearray(packed.read_bytes())
    size = struct.pack("<I", 50 * MOST)
    assert raw.count(size) == 2  # beside the data and in the directory
    packed.write_bytes(raw.replace(size, struct.pack("<I", 4096)))
    refused(packed)


def test_facts_that_are_too_large_are_not_read(packed: Path) -> None:
    content = members(packed)
    pack(packed, [("snapshot.json", bytes(100_000)), content[1]])
    refused(packed, "too large")


@pytest.mark.parametrize(
    "facts",
    [
        b"",
        b"[]",
        b"5",
        b"\xff",
        b"[" * 50_000,
        b'{"format": 1}',
        b'{"format": 1, "sequence": "x", "documents": 1, "config": {}}',
        b'{"format": 1, "sequence": Infinity, "documents": 1, "config": {}}',
        b'{"format": 1, "sequence": 1, "documents": 1, "config": 5}',
    ],
)
def test_facts_that_are_none_are_refused(facts: bytes, packed: Path) -> None:
    content = members(packed)
    pack(packed, [("snapshot.json", facts), content[1]])
    refused(packed, "damaged")


def test_a_newer_format_is_refused(packed: Path) -> None:
    content = dict(members(packed))
    facts = json.loads(content["snapshot.json"]) | {"format": 2}
    pack(packed, [("snapshot.json", json.dumps(facts).encode()), ("store.db", content["store.db"])])
    refused(packed, "has the format 2")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_any_flipped_bit_is_refused_or_harmless(packed: Path, tmp_path: Path) -> None:
    raw = packed.read_bytes()
    dice = np.random.default_rng(1)
    stop = len(raw)
    places = {*range(60), *range(stop - 200, stop), *dice.integers(0, stop, 200).tolist()}
    refusals = 0
    for place in sorted(places):
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        packed.write_bytes(changed)
        folder = tmp_path / "restored"
        try:
            archive.restore(packed, folder, {}, most_bytes=MOST)
        except SnapshotRefused:
            refusals += 1
            assert not folder.exists()
        else:
            with opened(folder) as collection:
                assert_holds(collection, MODEL)
            shutil.rmtree(folder)
    assert refusals > 150


# Stores that are none of ours.


def with_store(path: Path, change: Callable[[sqlite3.Connection], object]) -> None:
    """The archive with a changed store."""
    content = dict(members(path))
    store = path.with_name("changed.db")
    store.write_bytes(content["store.db"])
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        change(connection)
    pack(path, [("snapshot.json", content["snapshot.json"]), ("store.db", store.read_bytes())])
    store.unlink()


def test_a_store_that_is_no_database_is_refused(packed: Path) -> None:
    facts = members(packed)[0]
    for content in (b"", b"text" * 3000, members(packed)[1][1][:5000]):
        pack(packed, [facts, ("store.db", content)])
        refused(packed)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE more (a)",
        "CREATE VIEW more AS SELECT 1",
        "CREATE INDEX more ON documents (key)",
        "CREATE TRIGGER more AFTER INSERT ON state BEGIN DELETE FROM documents; END",
        "CREATE VIRTUAL TABLE more USING fts5(a)",
        "DROP VIEW live",
        "DROP TABLE requests",
        "ALTER TABLE documents ADD COLUMN more",
        "PRAGMA application_id = 5",
        "PRAGMA user_version = 2",
    ],
)
def test_a_store_of_another_shape_is_refused(statement: str, packed: Path) -> None:
    with_store(packed, lambda connection: connection.execute(statement))
    folder = packed.with_name("refused")
    with pytest.raises(SparsegateError):
        archive.restore(packed, folder, {}, most_bytes=MOST)
    assert not folder.exists()


def state(name: str, value: object) -> Callable[[sqlite3.Connection], object]:
    return lambda connection: connection.execute(
        "INSERT OR REPLACE INTO state VALUES (?, ?)", (name, json.dumps(value))
    )


SOUND: dict[str, Any] = {"vocabulary": 12, "shards": 2, "keep_text": True}


@pytest.mark.parametrize(
    "change",
    [
        state("parameters", 5),
        state("parameters", {}),
        state("parameters", {**SOUND, "more": 1}),
        *(
            state("parameters", {**SOUND, "vocabulary": value})
            for value in (0, -1, 2**40, "12", 12.0, True, None)
        ),
        *(state("parameters", {**SOUND, "shards": value}) for value in (0, -5, 10**9, 2.0)),
        state("parameters", {**SOUND, "keep_text": 1}),
        state("parameters", {**SOUND, "vocabulary": 5}),
        state("collection", 5),
        state("sequence", -1),
        state("sequence", 2**70),
        state("sequence", "4"),
        state("sequence", 4.0),
        state("next_number", 1),
        state("next_number", 2**70),
        state("calibration", {"points": []}),
        lambda connection: connection.execute("UPDATE state SET value = '{'"),
        lambda connection: connection.execute("UPDATE state SET value = NULL"),
        lambda connection: connection.execute("DELETE FROM state"),
        lambda connection: connection.execute("INSERT INTO tombstones VALUES (30, 1)"),
        lambda connection: connection.execute("UPDATE payload_indexes SET kind = 'mood'"),
        lambda connection: connection.execute("UPDATE payload_indexes SET field = 'a..b'"),
        lambda connection: connection.execute("UPDATE payload_indexes SET field = 'a[]'"),
    ],
)
def test_parameters_that_no_collection_has_are_refused(
    change: Callable[[sqlite3.Connection], object], packed: Path
) -> None:
    with_store(packed, change)
    refused(packed)


def row(**changes: object) -> Callable[[sqlite3.Connection], object]:
    """Changes one document and gives it the checksum that fits."""

    def change(connection: sqlite3.Connection) -> None:
        columns = ("key", "text", "payload", "vector")
        (number,) = connection.execute("SELECT max(number) FROM documents").fetchone()
        for name, value in changes.items():
            connection.execute(
                f"UPDATE documents SET {name} = ? WHERE number = ?",  # noqa: S608
                (value, number),
            )
        connection.text_factory = bytes
        values = connection.execute(
            "SELECT key, text, payload, vector FROM documents WHERE number = ?", (number,)
        ).fetchone()
        stored = dict(zip(columns, values, strict=True))
        if all(isinstance(each, bytes) for each in stored.values()):
            connection.execute(
                "UPDATE documents SET checksums = ? WHERE number = ?",
                (codec.checksums(**stored), number),
            )

    return change


def vector(terms: list[int], weights: list[float], width: int = 2) -> bytes:
    kind = np.uint16 if width == 2 else np.uint32
    return (
        bytes([width]) + np.array(terms, kind).tobytes() + np.array(weights, np.float32).tobytes()
    )


def test_a_changed_row_with_a_fitting_checksum_is_accepted(packed: Path, tmp_path: Path) -> None:
    """The other tests of rows refuse for their own reasons."""
    with_store(packed, row(vector=vector([1, 11], [1.0, 2.0]), payload='{"n": 7}'))
    archive.restore(packed, tmp_path / "restored", {}, most_bytes=MOST)


@pytest.mark.parametrize(
    "change",
    [
        row(vector=b""),
        row(vector=b"\x02abc"),
        row(vector=b"\x03" + bytes(12)),
        row(vector=vector([1], [1.0], 4)),
        row(vector=vector([2, 1], [1.0, 1.0])),
        row(vector=vector([1, 1], [1.0, 1.0])),
        row(vector=vector([12], [1.0])),
        row(vector=vector([65_535], [1.0])),
        row(vector=vector([1], [-1.0])),
        row(vector=vector([1], [0.0])),
        row(vector=vector([1], [float("nan")])),
        row(vector=vector([1], [float("inf")])),
        row(vector=vector([1], [2e6])),
        row(vector=5),
        row(key=b""),
        row(key=b"\0\0"),
        row(key=b"\1"),
        row(key=b"\1\xff"),
        row(key=b"\2abc"),
        row(key=b"\1" + b"z" * 257),
        row(key=5),
        row(payload="[]"),
        row(payload="5"),
        row(payload="null"),
        row(payload="{"),
        row(payload=b"\xff\xfe"),
        row(payload='{"a": NaN}'),
        row(payload='{"a": "\\ud800"}'),
        row(payload='{"a":' * 60_000),
        row(text=b"\xff"),
    ],
)
def test_rows_that_no_write_could_have_made_are_refused(
    change: Callable[[sqlite3.Connection], object], packed: Path
) -> None:
    with_store(packed, change)
    refused(packed, "damaged")


def test_two_documents_with_one_id_are_refused(packed: Path) -> None:
    with_store(packed, row(key=b"\0" + bytes(8)))
    refused(packed)


def test_a_disk_without_room_is_named(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StorageFull, match="no room for the"):
        archive.restore(packed, tmp_path / "restored", {}, most_bytes=MOST)
    assert not (tmp_path / "restored").exists()


def test_leftovers_of_unfinished_archives_are_swept(packed: Path, tmp_path: Path) -> None:
    for name in ("b.snapshot.new", "b.snapshot.copy.db", "b.snapshot.copy.db-journal"):
        (tmp_path / name).write_bytes(b"half")
    archive.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.snapshot", "c"]
