"""The reference vectors, computed in this process by both graphs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsegate_server import settings
from sparsegate_server.encoders.base import Encoding, Mode
from sparsegate_server.encoders.registry import EncoderBuilder
from sparsegate_server.errors import BlankText
from sparsegate_server.inference.factory import build_backend
from sparsegate_server.models.repository import load_specs

from ...golden import NOT_BLANK, TOLERANCE, VECTORS, difference


@pytest.mark.parametrize("model", ["splade-tiny", "splade-tiny-logits"])
@pytest.mark.parametrize("mode", list(Mode))
async def test_the_golden_vectors_are_met(model_repository: Path, model: str, mode: Mode) -> None:
    chosen = settings.load(models={"repository": model_repository, "names": [model]})
    specs = load_specs(model_repository, [model])
    backend = build_backend(chosen, specs)
    encoder = EncoderBuilder(backend, chosen).build(specs[0])
    found = await encoder.encode([each.text for each in VECTORS], mode)
    await backend.close()
    for golden, result in zip(VECTORS, found, strict=True):
        if golden not in NOT_BLANK:
            assert isinstance(result, BlankText)
            continue
        assert isinstance(result, Encoding)
        assert result.tokens_used == golden.tokens_used
        assert not result.capped
        assert difference(result.vector, golden.vector) <= TOLERANCE
