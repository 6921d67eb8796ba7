"""A gateway in a process of its own, as users have it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsegate_server.launch import GatewayProcess


@pytest.fixture(scope="module")
def address(model_repository: Path) -> Iterator[str]:
    """host:port of a gateway that encodes in process and has no collection yet."""
    models = {"repository": model_repository, "names": ["splade-tiny"]}
    with GatewayProcess(models=models, inference={"backend": "onnx"}) as gateway:
        yield gateway.address
