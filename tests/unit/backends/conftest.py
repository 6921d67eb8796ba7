"""An embedded backend in a folder of the test, with an empty collection `films`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from sparsegate_server.backends.base import CollectionConfig, Tier
from sparsegate_server.backends.embedded import EmbeddedBackend
from sparsegate_server.operations import Document, SearchOptions
from sparsegate_server.settings import Index
from sparsegate_server.types import SparseVector


def vector(*weights: float) -> SparseVector:
    return SparseVector(np.arange(len(weights), dtype=np.uint32), np.array(weights, np.float32))


def config(name: str, shards: int = 2) -> CollectionConfig:
    return CollectionConfig(name, Tier("model", "fingerprint", 16), shards)


FILM = Document("a", vector(1, 2), "text", {"year": 1984})
TEN = SearchOptions(10)


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
