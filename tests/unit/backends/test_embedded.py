"""The embedded backend keeps the contract of `IndexBackend`."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from sparsegate_server.backends.base import (
    Alias,
    AliasChange,
    CollectionConfig,
    IndexBackend,
    PayloadIndex,
    Tier,
)
from sparsegate_server.backends.embedded import EmbeddedBackend
from sparsegate_server.errors import (
    CollectionExists,
    CollectionNotFound,
    CorruptIndex,
    CorruptStore,
    DataFolderLocked,
    DocumentNotFound,
    InvalidRequest,
    NotCalibrated,
    ShuttingDown,
    SnapshotNotFound,
    SnapshotRefused,
)
from sparsegate_server.filters import FieldKind, Filter, Match
from sparsegate_server.index import recovery
from sparsegate_server.operations import (
    WHOLE,
    Document,
    Fetched,
    PayloadChange,
    PayloadMode,
    SearchOptions,
    StreamBatch,
)
from sparsegate_server.settings import Index
from sparsegate_server.types import SparseVector


def vector(*weights: float) -> SparseVector:
    return SparseVector(np.arange(len(weights), dtype=np.uint32), np.array(weights, np.float32))


def config(name: str, shards: int = 2) -> CollectionConfig:
    return CollectionConfig(name, Tier("model", "fingerprint", 16), shards)


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[EmbeddedBackend]:
    backend = EmbeddedBackend(Index(folder=folder, threads=2, tail_documents=4))
    await backend.start()
    try:
        yield backend
    finally:
        await backend.close()


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[EmbeddedBackend]:
    async with started(tmp_path / "data") as embedded:
        await embedded.create_collection(config("films"))
        yield embedded


FILM = Document("a", vector(1, 2), "text", {"year": 1984})
TEN = SearchOptions(10)


async def quiet(backend: IndexBackend, name: str) -> None:
    """Waits until there is no background work left."""
    stop = time.monotonic() + 20
    while (await backend.get_collection(name)).busy:
        assert time.monotonic() < stop
        await asyncio.sleep(0.005)


async def test_what_is_written_is_read(backend: IndexBackend) -> None:
    written = await backend.upsert("films", [FILM, Document(2**64 - 1, vector(3))])
    assert (written.sequence, written.affected) == (1, 0)
    result = await backend.search("films", vector(1, 1), SearchOptions(10, select=WHOLE))
    assert [(hit.id, hit.score) for hit in result.hits] == [(2**64 - 1, 3.0), ("a", 3.0)]
    assert result.sequence == 1
    assert result.postings_scored == 3
    found = result.documents[1]
    assert (found.id, found.text, found.payload) == ("a", "text", {"year": 1984})
    assert found.vector
    assert found.vector.values.tolist() == [1.0, 2.0]
    assert (await backend.search("films", vector(1), SearchOptions(1))).documents == ()
    assert (await backend.get("films", ["b", "a"])).documents[0] is None
    assert (await backend.explain("films", vector(1, 1), "a", TEN)).rank == 2
    with pytest.raises(DocumentNotFound):
        await backend.explain("films", vector(1, 1), "b", TEN)
    gone = await backend.delete("films", ["a", "b"])
    assert (gone.sequence, gone.affected) == (2, 1)
    assert await backend.get("films", ["a"]) == Fetched((None,), 2)


async def test_filters_payloads_and_indexes(backend: IndexBackend) -> None:
    documents = [Document(number, vector(1), None, {"k": "ab"[number % 2]}) for number in range(9)]
    await backend.upsert("films", documents)
    only_a = Filter(must=(Match("k", ("a",)),))
    assert (await backend.count("films", only_a)).count == 5
    declared = await backend.create_payload_index("films", "k", FieldKind.KEYWORD)
    assert declared.affected == 0
    await quiet(backend, "films")
    stats = await backend.get_collection("films")
    assert stats.payload_indexes == (PayloadIndex("k", FieldKind.KEYWORD, ready=True),)
    change = PayloadChange(PayloadMode.MERGE, {"k": "b"})
    assert (await backend.set_payload("films", only_a, change)).affected == 5
    counted = await backend.count("films", only_a)
    assert (counted.count, counted.unindexed) == (0, ())
    assert (await backend.delete("films", Filter(must=(Match("k", ("b",)),)))).affected == 9
    assert (await backend.delete_payload_index("films", "k")).affected == 1
    assert (await backend.delete_payload_index("films", "k")).affected == 0


async def test_a_retried_write_is_applied_once(backend: IndexBackend) -> None:
    first = await backend.upsert("films", [FILM], request_id="r")
    again = await backend.upsert("films", [FILM], request_id="r")
    assert (again.sequence, again.repeated) == (first.sequence, True)
    with pytest.raises(InvalidRequest):
        await backend.delete("films", ["a"], request_id="r")
    for number in (1, 2, 2, 1):
        await backend.upsert("films", [FILM], batch=StreamBatch("s", number))
    assert await backend.stream_position("films", "s") == 2
    assert (await backend.get_collection("films")).sequence == first.sequence + 2


async def test_pages_follow_each_other(backend: IndexBackend) -> None:
    await backend.upsert("films", [Document(number, vector(1)) for number in range(7)])
    first = await backend.scroll("films", after=None, limit=4)
    assert [document.id for document in first.documents] == [0, 1, 2, 3]
    second = await backend.scroll("films", after=first.next_after, limit=4)
    assert [document.id for document in second.documents] == [4, 5, 6]
    assert (first.next_after, second.next_after) == (3, None)


async def test_collections_are_listed_by_name_and_counted(backend: IndexBackend) -> None:
    await backend.create_collection(config("books", shards=1))
    await backend.upsert("books", [Document(1, vector(1, 1))])
    await backend.upsert("books", [Document(1, vector(1))])
    books, films = await backend.list_collections()
    assert (books.config, films.config) == (config("books", shards=1), config("films"))
    assert (books.sequence, books.documents, books.postings, books.tombstones) == (2, 1, 3, 1)
    assert books.store_bytes
    assert backend.config("books").shards == 1
    optimised = await backend.optimize("books")
    assert (optimised.segments, optimised.tail, optimised.tombstones) == (1, 0, 0)
    await backend.delete_collection("books")
    assert [each.config.name for each in await backend.list_collections()] == ["films"]
    await backend.create_collection(config("books"))
    assert (await backend.get_collection("books")).documents == 0


async def test_names_are_unique_and_known(backend: IndexBackend) -> None:
    results = await asyncio.gather(
        *(backend.create_collection(config("new")) for _ in range(5)), return_exceptions=True
    )
    errors = [each for each in results if isinstance(each, CollectionExists)]
    assert len(errors) == 4
    assert errors[0].field == "name"
    for call in (
        backend.get_collection("x"),
        backend.upsert("x", []),
        backend.delete("x", []),
        backend.get("x", []),
        backend.scroll("x", after=None, limit=1),
        backend.search("x", vector(1), TEN),
        backend.count("x"),
        backend.create_snapshot("x"),
        backend.list_snapshots("x"),
        backend.stream_position("x", "s"),
        backend.optimize("x"),
    ):
        with pytest.raises(CollectionNotFound, match="list the collections") as caught:
            await call
        assert caught.value.field == "collection"
    with pytest.raises(CollectionNotFound) as caught:
        await backend.delete_collection("x")
    assert caught.value.field == "name"
    with pytest.raises(CollectionNotFound):
        backend.config("x")


async def test_what_was_meant_for_a_deleted_collection_does_not_reach_the_next(
    backend: IndexBackend,
) -> None:
    old = backend.config("films")
    await backend.upsert("films", [FILM], config=old)
    await backend.delete_collection("films")
    await backend.create_collection(config("films"))
    with pytest.raises(CollectionNotFound, match="made anew"):
        await backend.upsert("films", [FILM], config=old)
    with pytest.raises(CollectionNotFound, match="made anew"):
        await backend.search("films", vector(1), TEN, config=old)
    await backend.upsert("films", [FILM], config=backend.config("films"))


async def test_an_error_of_the_engine_reaches_the_caller(backend: IndexBackend) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await backend.upsert("films", [FILM, Document("", vector(1))])
    assert caught.value.field == "documents[1].id"
    assert (await backend.get_collection("films")).documents == 0


# Aliases.


async def test_an_alias_is_another_name(backend: IndexBackend) -> None:
    changed = await backend.update_aliases([AliasChange("movies", "films")])
    assert changed == [Alias("movies", "films")] == await backend.list_aliases()
    await backend.upsert("movies", [FILM])
    assert (await backend.get_collection("movies")).config.name == "films"
    assert (await backend.get_collection("films")).aliases == ("movies",)
    assert (await backend.search("movies", vector(1), TEN)).hits
    with pytest.raises(CollectionExists, match="alias of 'films'"):
        await backend.create_collection(config("movies"))
    with pytest.raises(CollectionNotFound):
        await backend.delete_collection("movies")
    await backend.delete_collection("films")
    assert await backend.list_aliases() == []


async def test_aliases_change_all_at_once_or_not_at_all(backend: IndexBackend) -> None:
    await backend.create_collection(config("books"))
    await backend.update_aliases([AliasChange("live", "films"), AliasChange("old", "books")])
    swap = [AliasChange("live", "books"), AliasChange("old", "films")]
    assert await backend.update_aliases(swap) == [Alias("live", "books"), Alias("old", "films")]
    with pytest.raises(CollectionNotFound) as missing:
        await backend.update_aliases([AliasChange("live", "films"), AliasChange("a", "nowhere")])
    assert missing.value.field == "changes[1].collection"
    with pytest.raises(CollectionExists) as taken:
        await backend.update_aliases([AliasChange("live", None), AliasChange("films", "books")])
    assert taken.value.field == "changes[1].alias"
    assert await backend.list_aliases() == [Alias("live", "books"), Alias("old", "films")]
    assert await backend.update_aliases([AliasChange("live", None)]) == [Alias("old", "films")]


# Restarts.


async def test_a_restart_keeps_everything(tmp_path: Path) -> None:
    async with started(tmp_path) as backend:
        await backend.create_collection(config("films"))
        documents = [
            Document(number, vector(1 + number), "t", {"n": number}) for number in range(9)
        ]
        await backend.upsert("films", documents)
        await backend.delete("films", [3])
        await backend.update_aliases([AliasChange("movies", "films")])
        before = await backend.search("films", vector(1), SearchOptions(9, select=WHOLE))
        snapshot = await backend.create_snapshot("films")
    async with started(tmp_path) as backend:
        assert [each.config for each in await backend.list_collections()] == [config("films")]
        after = await backend.search("movies", vector(1), SearchOptions(9, select=WHOLE))
        assert (after.hits, after.sequence) == (before.hits, before.sequence)
        assert [each.payload for each in after.documents] == [
            each.payload for each in before.documents
        ]
        assert await backend.list_snapshots("movies") == [snapshot]
        assert backend.problems() == {}


async def test_a_second_backend_is_refused(backend: IndexBackend, tmp_path: Path) -> None:
    other = EmbeddedBackend(Index(folder=tmp_path / "data"))
    with pytest.raises(DataFolderLocked):
        await other.start()
    await other.close()


async def test_nothing_works_before_the_start(tmp_path: Path) -> None:
    backend = EmbeddedBackend(Index(folder=tmp_path / "data"))
    with pytest.raises(ShuttingDown, match="not open yet"):
        await backend.get_collection("films")
    assert not (tmp_path / "data").exists()
    await backend.close()


async def damaged(folder: Path) -> None:
    """Four collections, three of which cannot be read."""
    async with started(folder) as backend:
        for name in ("store", "index", "config", "sound"):
            await backend.create_collection(config(name))
            await backend.upsert(name, [FILM])
            await backend.optimize(name)
    collections = folder / "collections"
    (collections / "store" / "store.db").write_bytes(b"no database" * 1000)
    (collections / "index" / "index" / "MANIFEST").write_bytes(b"{}")
    opened = recovery.open_folder(collections / "config")
    opened.store.begin()
    opened.store.set_facts(config={"name": "config", "mood": "good"})
    opened.store.commit()
    opened.store.close()


async def test_a_collection_that_cannot_be_read_is_refused_and_the_others_served(
    tmp_path: Path,
) -> None:
    await damaged(tmp_path)
    async with started(tmp_path) as backend:
        assert [each.config.name for each in await backend.list_collections()] == ["sound"]
        assert (await backend.search("sound", vector(1), TEN)).hits
        problems = backend.problems()
        assert problems.keys() == {"store", "index", "config"}
        assert "index rebuild" in problems["index"]
        assert str(tmp_path / "collections" / "store" / "store.db") in problems["store"]
        for name, kind in (
            ("store", CorruptStore),
            ("index", CorruptIndex),
            ("config", CorruptStore),
        ):
            with pytest.raises(kind) as caught:
                await backend.search(name, vector(1), TEN)
            assert caught.value.message == problems[name]
            with pytest.raises(CollectionExists):
                await backend.create_collection(config(name))
        await backend.delete_collection("store")
        await backend.create_collection(config("store"))
        assert backend.problems().keys() == {"index", "config"}


# Snapshots.


async def test_a_snapshot_is_made_listed_restored_and_deleted(backend: IndexBackend) -> None:
    await backend.upsert("films", [FILM])
    first = await backend.create_snapshot("films")
    await backend.upsert("films", [Document(5, vector(7))])
    second = await backend.create_snapshot("films")
    assert (first.collection, first.sequence, first.documents) == ("films", 1, 1)
    assert (second.sequence, second.documents) == (2, 2)
    assert abs(first.created - time.time()) < 60
    assert await backend.list_snapshots("films") == [second, first]
    path = await backend.snapshot_path("films", first.name)
    assert path.stat().st_size == first.bytes
    restored = await backend.restore_snapshot("older", path)
    assert restored.config == config("older")
    assert restored.documents == 1
    assert [hit.id for hit in (await backend.search("older", vector(1), TEN)).hits] == ["a"]
    with pytest.raises(CollectionExists):
        await backend.restore_snapshot("films", path)
    await backend.delete_snapshot("films", first.name)
    assert await backend.list_snapshots("films") == [second]
    with pytest.raises(SnapshotNotFound):
        await backend.delete_snapshot("films", first.name)


async def test_snapshots_outlive_their_collection(backend: IndexBackend) -> None:
    await backend.upsert("films", [FILM])
    snapshot = await backend.create_snapshot("films")
    await backend.delete_collection("films")
    assert await backend.list_snapshots("films") == [snapshot]
    path = await backend.snapshot_path("films", snapshot.name)
    assert (await backend.restore_snapshot("films", path)).documents == 1


@pytest.mark.parametrize("name", ["x", "../../LOCK", "../films/a.snapshot", "/etc/passwd", ".."])
async def test_no_name_leads_out_of_the_folder(name: str, backend: IndexBackend) -> None:
    await backend.create_snapshot("films")
    for call in (backend.snapshot_path("films", name), backend.delete_snapshot("films", name)):
        with pytest.raises(SnapshotNotFound):
            await call


async def test_snapshots_of_one_instant_have_names_of_their_own(
    backend: IndexBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock may stand, or have been set back to a second that has a snapshot already."""
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((2001, 1, 1, 0, 0, 0, 0, 1, 0)))
    made = [await backend.create_snapshot("films") for _ in range(3)]
    assert len({each.name for each in made}) == 3
    assert {each.name for each in await backend.list_snapshots("films")} == {
        each.name for each in made
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"more": 1},
        {"model": 5},
        {"fingerprint": None},
        {"identity": "splade"},
        {"precision": 16},
        {"vocabulary_size": 17},
        {"vocabulary_size": "16"},
        {"shards": 3},
        {"keep_text": False},
    ],
)
async def test_an_archive_that_says_what_its_store_does_not_is_refused(
    changes: dict[str, object], backend: IndexBackend, tmp_path: Path
) -> None:
    await backend.upsert("films", [FILM])
    snapshot = await backend.create_snapshot("films")
    path = await backend.snapshot_path("films", snapshot.name)
    foreign = tmp_path / "foreign"
    with zipfile.ZipFile(path) as packed, zipfile.ZipFile(foreign, "w") as changed:
        facts = json.loads(packed.read("snapshot.json"))
        facts["config"] |= changes
        changed.writestr("snapshot.json", json.dumps(facts))
        changed.writestr("store.db", packed.read("store.db"))
    with pytest.raises(SnapshotRefused):
        await backend.restore_snapshot("foreign", foreign)
    assert [each.name for each in (tmp_path / "data" / "collections").iterdir()] == ["films"]
    foreign.write_bytes(b"no archive")
    with pytest.raises(SnapshotRefused):
        await backend.restore_snapshot("foreign", foreign)
    await backend.create_collection(config("foreign"))


async def test_a_folder_that_is_lost_meanwhile_is_an_error_with_a_name(
    backend: IndexBackend, tmp_path: Path
) -> None:
    await backend.upsert("films", [FILM])
    snapshot = await backend.create_snapshot("films")
    shutil.rmtree(tmp_path / "data" / "snapshots" / "films")
    with pytest.raises(SnapshotNotFound):
        await backend.snapshot_path("films", snapshot.name)
    assert await backend.list_snapshots("films") == []


# Threads.


class Slow(Sequence[Document]):
    """Documents that say when a write has begun to read them, and wait to be let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()

    def __len__(self) -> int:
        return 1

    def __getitem__(self, at):  # type: ignore[no-untyped-def]
        return [FILM][at]

    def __iter__(self) -> Iterator[Document]:
        self.begun.set()
        assert self.release.wait(30)
        return iter([FILM])


async def test_a_write_whose_caller_leaves_is_applied_whole_or_not_at_all(
    backend: IndexBackend,
) -> None:
    slow = Slow()
    begun = asyncio.create_task(backend.upsert("films", slow))
    assert await asyncio.to_thread(slow.begun.wait, 30)
    # Neither the loop nor a read nor another write waits for it.
    assert (await backend.search("films", vector(1), SearchOptions(1))).hits == ()
    await backend.upsert("films", [Document("b", vector(1))])
    begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun
    slow.release.set()
    await backend.upsert("films", [])
    found = (await backend.get("films", ["a", "b"])).documents
    assert found[1] is not None
    assert found[0] is None or found[0].text == "text"


async def test_closing_finishes_what_was_begun_and_refuses_the_rest(
    backend: EmbeddedBackend,
) -> None:
    slow = Slow()
    write = asyncio.create_task(backend.upsert("films", slow))
    assert await asyncio.to_thread(slow.begun.wait, 30)
    closing = asyncio.create_task(backend.close())
    await asyncio.sleep(0)
    with pytest.raises(ShuttingDown):
        await backend.search("films", vector(1), TEN)
    with pytest.raises(ShuttingDown):
        await backend.create_collection(config("late"))
    slow.release.set()
    assert (await write).sequence == 1
    await closing


async def test_many_searches_share_few_threads(backend: IndexBackend) -> None:
    await backend.create_collection(config("wide", shards=8))
    documents = [Document(number, vector(1 + number % 5)) for number in range(200)]
    await backend.upsert("wide", documents)
    results = await asyncio.gather(
        *(backend.search("wide", vector(1), SearchOptions(3)) for _ in range(100))
    )
    assert {tuple(hit.id for hit in each.hits) for each in results} == {(4, 9, 14)}


async def test_a_calibration_is_shown_and_served(tmp_path: Path) -> None:
    queries = [vector(*([0.5] * at), 1.0) for at in range(12)]
    async with started(tmp_path / "data") as backend:
        made = await backend.create_collection(config("films"))
        assert made.calibration is None
        await backend.upsert("films", [Document(at, vector(1, at + 1)) for at in range(30)])
        await backend.update_aliases([AliasChange("now", "films")])
        with pytest.raises(NotCalibrated):
            await backend.search("now", vector(1), SearchOptions(10, target_recall=0.9))
        measured = await backend.calibrate("now", queries, 5)
        assert (measured.limit, measured.queries, measured.documents) == (5, 12, 30)
        found = await backend.search("now", vector(1), SearchOptions(10, target_recall=1.0))
        assert found.ids == (await backend.search("now", vector(1), TEN)).ids
        await backend.create_snapshot("films")
    async with started(tmp_path / "data") as backend:
        assert (await backend.get_collection("films")).calibration == measured
        (taken,) = await backend.list_snapshots("films")
        path = await backend.snapshot_path("films", taken.name)
        assert (await backend.restore_snapshot("again", path)).calibration == measured


async def test_searches_go_on_beside_a_calibration_that_a_cancelled_caller_gives_up(
    backend: EmbeddedBackend,
) -> None:
    await backend.upsert("films", [Document(at, vector(1, at + 1)) for at in range(30)])
    begun = asyncio.create_task(backend.calibrate("films", [vector(1, 1)] * 100_000, 5))
    for _ in range(20):
        await asyncio.wait_for(backend.search("films", vector(1), TEN), 5)
    assert not begun.done()
    begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun
    # Its lock is free again, long before so many queries could have been measured.
    measured = await asyncio.wait_for(backend.calibrate("films", [vector(1, 1)] * 10, 5), 10)
    assert (await backend.get_collection("films")).calibration == measured


async def test_a_deleted_collection_gives_its_calibration_up(backend: EmbeddedBackend) -> None:
    await backend.upsert("films", [Document(at, vector(1, at + 1)) for at in range(30)])
    begun = asyncio.create_task(backend.calibrate("films", [vector(1, 1)] * 100_000, 5))
    await asyncio.sleep(0.05)
    await backend.delete_collection("films")
    with pytest.raises(CollectionNotFound):
        await asyncio.wait_for(begun, 10)
