"""What tests of every room share: the real model, pulled and exported once a session."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sparsegate_server.models.pull import pull
from sparsegate_server.models.repository import export


@pytest.fixture(scope="session")
def model_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with `splade-tiny` and `splade-tiny-logits`."""
    folder = tmp_path_factory.mktemp("model_repository")
    pulled = pull("splade-tiny")
    export(pulled, folder)
    export(pulled, folder, output="logits")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _short_turns() -> None:
    """As the gateway sets it: with the default of 5 ms, one busy reader in Python holds every other
    thread up at each of its calls into the database."""
    sys.setswitchinterval(0.0005)
