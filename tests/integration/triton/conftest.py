"""Ways to the real Triton."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sparsegate_server import settings
from sparsegate_server.inference.triton import TritonBackend
from sparsegate_server.inference.tritonserver import TritonServer
from sparsegate_server.models.spec import ModelSpec


@pytest.fixture
async def backend(server: TritonServer) -> AsyncIterator[TritonBackend]:
    made = TritonBackend([server.url])
    yield made
    await made.close()


@pytest.fixture
def terms(model_repository: Path) -> ModelSpec:
    return ModelSpec.load(model_repository / "splade-tiny")


@pytest.fixture
def logits(model_repository: Path) -> ModelSpec:
    return ModelSpec.load(model_repository / "splade-tiny-logits")


@pytest.fixture
def chosen(server: TritonServer, model_repository: Path) -> settings.Settings:
    """Settings of a gateway before this server."""
    return settings.load(
        models={"repository": model_repository},
        inference={"backend": "triton"},
        triton={"urls": [server.url]},
    )
