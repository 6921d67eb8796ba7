"""A calibration is kept with its collection, holds no search up, and can be given up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sparsegate_server.backends.base import AliasChange
from sparsegate_server.backends.embedded import EmbeddedBackend
from sparsegate_server.errors import CollectionNotFound, NotCalibrated
from sparsegate_server.operations import Document, SearchOptions

from .conftest import TEN, config, started, vector


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
