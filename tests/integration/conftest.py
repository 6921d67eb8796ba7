"""One real Triton with both graphs for all integration tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsegate_server.errors import TritonPreflightError
from sparsegate_server.inference.tritonserver import TritonServer, preflight
from sparsegate_server.models.repository import load_specs


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
