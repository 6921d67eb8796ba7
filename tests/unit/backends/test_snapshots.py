"""Snapshots are kept apart from collections, and foreign archives are not believed."""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from pathlib import Path

import pytest

from sparsegate_server.backends.base import IndexBackend
from sparsegate_server.errors import CollectionExists, SnapshotNotFound, SnapshotRefused
from sparsegate_server.operations import Document

from .conftest import FILM, TEN, config, vector


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
