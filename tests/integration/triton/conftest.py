"""One real Triton with both graphs for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sparsegate_server import settings
from sparsegate_server.errors import TritonPreflightError
from sparsegate_server.inference.triton import TritonBackend
from sparsegate_server.inference.tritonserver import TritonServer, preflight
from sparsegate_server.models.repository import load_specs
from sparsegate_server.models.spec import ModelSpec


@pytest.fixture(scope="session")
def can_run_triton(model_repository: Path) -> None:
    """Skips, with the cause, where the packaged Triton cannot run at all."""
    try:
        preflight.check_machine()
        preflight.check_shared_memory(load_specs(model_repository, []))
    except TritonPreflightError as error:
        pytest.skip(error.message)


@pytest.fixture(scope="session")
def server(can_run_triton: None, model_repository: Path) -> Iterator[TritonServer]:
    with TritonServer(model_repository) as started:
        yield started


@pytest.fixture
async def backend(server: TritonServer) -> AsyncIterator[TritonBackend]:
    made = TritonBackend(server.url)
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
        triton={"url": server.url},
    )
