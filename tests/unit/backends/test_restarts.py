"""What a start finds: everything, another process, collections that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsegate_server.backends.base import AliasChange, IndexBackend
from sparsegate_server.backends.embedded import EmbeddedBackend
from sparsegate_server.errors import (
    CollectionExists,
    CorruptIndex,
    CorruptStore,
    DataFolderLocked,
    ShuttingDown,
)
from sparsegate_server.index import recovery
from sparsegate_server.operations import WHOLE, Document, SearchOptions
from sparsegate_server.settings import Index

from .conftest import FILM, TEN, config, started, vector


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
