"""From a folder back to a collection: after a clean close, a crash, and every kind of damage."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from sparsegate_server.errors import CorruptIndex, CorruptStore, SparsegateError
from sparsegate_server.filters import FieldKind, Filter, Range
from sparsegate_server.index import Collection, Parameters, recovery, verification
from sparsegate_server.index.files.manifest import NAME, read_manifest, write_manifest
from sparsegate_server.index.store import schema
from sparsegate_server.operations import SearchOptions

from .opening import assert_holds, assert_tidy, copied, document, documents, hits, opened, sound
from .oracle import Model, Stored, Vector

MODEL: Model = {
    key: Stored({key % 12: 1.0 + key, 3: 0.5}, f"text {key}", {"n": key}) for key in range(40)
} | {"s": Stored({3: 7.0}), "t": Stored({3: 7.0}, "", {"n": 1.5})}
QUERIES: list[Vector] = [{3: 1.0}, {1: 0.3, 2: 1e-6, 3: 7.0}]
FEW = Filter(must=(Range("n", gte=10, lt=25),))


def fill(collection: Collection) -> None:
    """Several segments of both shards, a column, dead documents in segments, and a tail."""
    collection.create_index("n", FieldKind.NUMBER)
    everything = documents(MODEL)
    for start in range(0, 30, 10):
        collection.upsert(everything[start : start + 10])
        collection.seal()
    collection.upsert([document(key, {5: 9.0}) for key in (2, 11, 27)])
    collection.delete([5, 6])
    collection.upsert(everything[30:])
    collection.upsert([everything[key] for key in (2, 5, 6, 11, 27)])
    while collection.build_indexes():
        pass


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """What a collection that was never closed has left behind."""
    with opened(tmp_path / "c", shards=2) as collection:
        fill(collection)
        return copied(collection, tmp_path / "crashed")


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    with opened(tmp_path / "c", shards=2) as collection:
        fill(collection)
    return tmp_path / "c"


Answers = list[list[tuple[object, float]]]


def answers(folder: Path) -> Answers:
    """Hits of searches, with the bits of their scores."""
    with opened(folder) as collection:
        assert_holds(collection, MODEL)
        return [
            [*hits(collection, query, SearchOptions(99, filter=filter, idf=idf))]
            for query in QUERIES
            for filter in (None, FEW)
            for idf in (False, True)
        ]


def refused(folder: Path, kind: type[SparsegateError], *words: str) -> None:
    with pytest.raises(kind) as caught, closing(Collection(folder)):
        pass
    assert all(word in caught.value.message for word in words), caught.value.message


def test_a_closed_collection_has_nothing_to_replay(closed: Path) -> None:
    before = answers(closed)
    assert sorted(path.name for path in closed.iterdir()) == ["index", schema.FILE]
    with opened(closed) as collection:
        assert collection.size().tail == 0
        assert collection.indexes() == {"n": (FieldKind.NUMBER, True)}
    assert sound(closed) == []
    assert answers(closed) == before


def test_a_crash_loses_nothing(crashed: Path, closed: Path) -> None:
    assert (crashed / "store.db-wal").stat().st_size
    with closing(Collection(crashed)) as collection:
        assert collection.size().tail == 17
        sequence = collection.size().sequence
    assert answers(crashed) == answers(closed)
    assert sound(crashed) == []
    with opened(crashed) as collection:
        assert collection.upsert([]).sequence == sequence
        assert collection.upsert([document(1, {1: 1.0})]).sequence == sequence + 1


def test_a_request_that_was_applied_before_a_crash_is_not_applied_again(tmp_path: Path) -> None:
    with opened(tmp_path / "c") as collection:
        first = collection.upsert([document(1, {1: 1.0})], request_id="r")
        copied(collection, tmp_path / "crashed")
    with opened(tmp_path / "crashed") as collection:
        again = collection.upsert([document(1, {1: 1.0})], request_id="r")
        assert again == first.__class__(first.sequence, first.affected, repeated=True)


def test_a_lost_log_is_noticed(crashed: Path) -> None:
    """A manifest that has seen more writes than the store: committed writes are gone."""
    log = crashed / "store.db-wal"
    whole = log.read_bytes()
    (crashed / "store.db-shm").unlink(missing_ok=True)
    for length in (0, 32, len(whole) // 3):
        log.write_bytes(whole[:length])
        copy = shutil.copytree(crashed, crashed.with_name(f"cut {length}"))
        with pytest.raises(CorruptStore), closing(Collection(copy)):
            pass
    with opened(crashed.with_name("later")) as collection:
        collection.upsert([document(1, {1: 1.0})])
        collection._store.checkpoint()
        collection.upsert([document(2, {1: 1.0})])
        collection.seal()
        lost = copied(collection, crashed.with_name("lost"))
    (lost / "store.db-wal").write_bytes(b"")
    (lost / "store.db-shm").unlink(missing_ok=True)
    refused(lost, CorruptStore, "store.db", "the index has seen 2", "store.db-wal", "snapshot")


def test_a_log_that_was_cut_after_the_last_seal_loses_whole_writes_only(tmp_path: Path) -> None:
    with opened(tmp_path / "c") as collection:
        collection._store.checkpoint()
        for key in range(20):
            collection.upsert([document(key, {1: 1.0 + key}), document(str(key), {2: 1.0})])
        crashed = copied(collection, tmp_path / "crashed")
    log = crashed / "store.db-wal"
    whole = log.read_bytes()
    lengths = set()
    for length in range(0, len(whole) + 1, 2011):
        copy = shutil.copytree(crashed, tmp_path / f"cut {length}")
        (copy / "store.db-wal").write_bytes(whole[:length])
        (copy / "store.db-shm").unlink(missing_ok=True)
        try:
            with opened(copy) as collection:
                count = collection.size().sequence
                assert_holds(
                    collection,
                    {key: Stored({1: 1.0 + key}) for key in range(count)}
                    | {str(key): Stored({2: 1.0}) for key in range(count)},
                )
                lengths.add(count)
        except CorruptStore as error:
            assert "store.db" in error.message  # noqa: PT017 - the other outcome is fine, too
    assert len(lengths) > 10


def test_files_that_a_crash_left_are_deleted_and_others_are_not(closed: Path) -> None:
    index = closed / recovery.INDEX
    for name in ("00000999.segment", "00000999.column", "MANIFEST.new"):
        (index / name).write_bytes(b"half")
    (index / "notes.txt").write_text("mine")
    with opened(closed):
        pass
    (index / "notes.txt").unlink()
    assert_tidy(closed)


def test_the_dead_that_no_segment_holds_are_purged_when_the_collection_opens(
    crashed: Path,
) -> None:
    with closing(sqlite3.connect(crashed / schema.FILE)) as tool:
        before = {number for (number,) in tool.execute("SELECT number FROM tombstones")}
    opened_folder = recovery.open_folder(crashed)
    orphans = set(opened_folder.orphans.tolist())
    opened_folder.store.close()
    assert orphans
    assert orphans < before  # those whose documents are still in a segment stay
    with opened(crashed) as collection:
        assert_holds(collection, MODEL)
        collection.upsert([])
        stored = {number for number, _ in collection._store.tombstones()}
        assert not stored & orphans
        assert not collection._store.read(orphans)


@pytest.mark.parametrize("name", [NAME, "00000001.segment", "column"])
def test_a_missing_file_of_the_index_is_named(name: str, closed: Path) -> None:
    index = closed / recovery.INDEX
    path = next(index.glob(f"*{name}"))
    path.unlink()
    refused(closed, CorruptIndex, str(path), "is missing", "sparsegate-server index rebuild")
    assert recovery.rebuild(closed) == len(MODEL)
    assert sound(closed) == []


def test_a_missing_store_is_not_an_empty_collection(closed: Path) -> None:
    (closed / schema.FILE).unlink()
    refused(closed, CorruptStore, str(closed / schema.FILE), "is missing", "snapshot")
    with pytest.raises(CorruptStore):
        recovery.rebuild(closed)
    assert not (closed / schema.FILE).exists()


def test_the_index_of_another_collection_is_refused(closed: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "other", shards=2) as collection:
        collection.upsert([document(1, {1: 1.0})])
    shutil.rmtree(closed / recovery.INDEX)
    shutil.copytree(tmp_path / "other" / recovery.INDEX, closed / recovery.INDEX)
    refused(closed, CorruptIndex, NAME, "belongs to another collection")


@pytest.mark.parametrize("damage", ["nothing", "segment", "manifest", "folder"])
def test_a_rebuilt_index_gives_the_same_answers_bit_for_bit(
    damage: str, crashed: Path, closed: Path
) -> None:
    before = answers(closed)
    index = crashed / recovery.INDEX
    if damage == "segment":
        path = next(index.glob("*.segment"))
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "manifest":
        (index / NAME).write_bytes(b"{}")
    elif damage == "folder":
        shutil.rmtree(index)
    progress: list[int] = []
    assert recovery.rebuild(crashed, progress.append) == len(MODEL)
    assert progress == [len(MODEL)]
    assert_tidy(crashed)
    assert sound(crashed) == []
    assert answers(crashed) == before
    with opened(crashed) as collection:
        assert collection.indexes() == {"n": (FieldKind.NUMBER, False)}
        assert collection.build_indexes()
    assert answers(crashed) == before


def test_a_rebuild_in_pieces_gives_the_same(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = answers(closed)
    monkeypatch.setattr(recovery, "_CHUNK", 7)
    progress: list[int] = []
    recovery.rebuild(closed, progress.append)
    assert progress == [*range(7, 43, 7)]
    assert answers(closed) == before


# Verify.


def test_verify_reports_every_file_and_changes_nothing(closed: Path) -> None:
    before = {path: path.read_bytes() for path in closed.rglob("*") if path.is_file()}
    reported: list[tuple[str, str]] = []
    assert verification.verify(closed, lambda *found: reported.append(found))
    files = sorted(read_manifest(closed / recovery.INDEX).files)
    assert reported == [(name, "") for name in [schema.FILE, NAME, *files, "index against store"]]
    assert {path: path.read_bytes() for path in closed.rglob("*") if path.is_file()} == before


def test_verify_finds_damage_to_files(closed: Path) -> None:
    index = closed / recovery.INDEX
    for name in [*read_manifest(index).files, NAME]:
        path = index / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:])
        ((found, problem),) = sound(closed)
        assert found == name
        assert str(path) in problem or "damaged" in problem
        path.write_bytes(whole)
    assert sound(closed) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("UPDATE documents SET text = 'other' WHERE number = 9", "is damaged in the store"),
        ("UPDATE state SET value = '{}' WHERE name = 'parameters'", "parameters"),
        ("DELETE FROM documents WHERE number = 9", "in segments but not in the store"),
        ("DELETE FROM tombstones", "two documents with one id"),
    ],
)
def test_verify_finds_a_changed_store(change: str, what: str, closed: Path) -> None:
    with closing(sqlite3.connect(closed / schema.FILE, isolation_level=None)) as tool:
        tool.execute(change)
    assert any(what in problem for _, problem in sound(closed))


def test_verify_finds_an_index_that_lacks_a_document(closed: Path) -> None:
    index = closed / recovery.INDEX
    manifest = read_manifest(index)
    write_manifest(index, manifest.__class__(manifest.collection, 9, manifest.sealed, 1))
    ((name, problem),) = sound(closed)
    assert name == "index against store"
    assert "no segment holds the document" in problem


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_of_the_store_is_an_error_that_says_so_or_harmless(
    seed: int, closed: Path
) -> None:
    path = closed / schema.FILE
    whole = path.read_bytes()
    written = [place for place, byte in enumerate(whole) if byte]
    dice = np.random.default_rng(seed)
    noticed = 0
    for _ in range(60):
        changed = bytearray(whole)
        changed[dice.choice(written)] ^= 1 << int(dice.integers(8))
        path.write_bytes(changed)
        for work in (recovery.read_config, sound, _open_and_close):
            try:
                noticed += bool(work(closed))
            except SparsegateError as error:
                noticed += 1
                assert "store.db" in error.message or "MANIFEST" in error.message  # noqa: PT017
        for left in ("-wal", "-shm"):
            path.with_name(path.name + left).unlink(missing_ok=True)
    assert noticed > 20


def _open_and_close(folder: Path) -> None:
    recovery.open_folder(folder).store.close()


def test_a_collection_that_cannot_be_made_leaves_an_error_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SparsegateError, match="cannot use"):
        recovery.create(tmp_path / "file" / "c", Parameters(12), {})
    with pytest.raises(SparsegateError, match="cannot use"):
        recovery.create(tmp_path, Parameters(12), {})
