"""What tests of every room share: the real model, pulled and exported once a session."""

from __future__ import annotations

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
