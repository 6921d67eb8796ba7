"""The reference vectors through Encode: by both graphs, on the real Triton and in process."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest
from tests.golden import NOT_BLANK, TOLERANCE, difference
from tests.integration.gateway.conftest import Wire, settings_for

from sparsegate.v1 import encode_pb2
from sparsegate_server.app import Gateway
from sparsegate_server.types import SparseVector


@pytest.mark.parametrize("model", ["splade-tiny", "splade-tiny-logits"])
@pytest.mark.parametrize("backend", ["onnx", "triton"])
async def test_the_golden_vectors_are_met(
    request: pytest.FixtureRequest, model_repository: Path, backend: str, model: str
) -> None:
    url = request.getfixturevalue("server").url if backend == "triton" else "127.0.0.1:1"
    gateway = Gateway(
        settings_for(
            model_repository,
            models={"repository": model_repository, "names": [model]},
            inference={"backend": backend},
            triton={"urls": [url]},
            limits={},
        )
    )
    await gateway.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        reply = await Wire(channel, gateway).encode.Encode(
            encode_pb2.EncodeRequest(
                mode=encode_pb2.ENCODE_MODE_DOCUMENT, texts=[each.text for each in NOT_BLANK]
            )
        )
    await gateway.stop()
    assert len(reply.results) == len(NOT_BLANK)
    for golden, result in zip(NOT_BLANK, reply.results, strict=True):
        encoding = result.encoding
        vector = SparseVector(
            np.array(encoding.vector.indices, np.uint32),
            np.array(encoding.vector.values, np.float32),
        )
        assert encoding.tokens_used == golden.tokens_used
        assert encoding.vector.fingerprint == reply.fingerprint
        assert difference(vector, golden.vector) <= TOLERANCE
