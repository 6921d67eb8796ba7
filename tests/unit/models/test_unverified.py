"""What nobody has compared with its checkpoint is not served, where that matters."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.repository import Execution, export, load_specs, record

from ..parity.small import checkpoint
from .test_verification import IN_PROCESS, ON_TENSORRT


def test_tensorrt_needs_a_record_of_its_own(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    execution = Execution(backend="tensorrt")
    spec = export(checkpoint(tmp_path / "source"), repository, name="small", execution=execution)
    with pytest.raises(ModelSourceError, match="verify small --triton HOST:PORT"):
        load_specs(repository, ["small"])
    record(repository, spec, IN_PROCESS)
    with pytest.raises(ModelSourceError, match=r"no model in .* can be served"):
        load_specs(repository, [])
    spec = record(repository, spec, ON_TENSORRT)
    assert load_specs(repository, []) == [spec]
