"""The real graph in this process: what shares a batch gets what it would get alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from sparsegate_server import settings
from sparsegate_server.encoders.base import NOBODY, Caller, EncodeTimings, Encoding, Mode
from sparsegate_server.encoders.batcher import Batcher
from sparsegate_server.encoders.batching import Outputs, ServedGraph
from sparsegate_server.encoders.registry import build_batcher
from sparsegate_server.encoders.splade import SpladeEncoder
from sparsegate_server.encoders.tokenizer import ModelTokenizer
from sparsegate_server.errors import InferenceFailed
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.onnx import OnnxBackend
from sparsegate_server.models.spec import ModelSpec

TEXTS = [
    "music",
    "a film about music",
    "the band plays on " * 4,
    "word " * 90,
    "a boy " * 30,
    "war",
]


@pytest.fixture
async def backend(model_repository: Path, spec: ModelSpec) -> AsyncIterator[OnnxBackend]:
    made = OnnxBackend(model_repository, [spec])
    yield made
    await made.close()


@pytest.fixture
def batcher(backend: OnnxBackend) -> Batcher:
    return build_batcher(backend, settings.load())


async def test_texts_of_many_clients_in_shared_batches(
    batcher: Batcher, spec: ModelSpec, tokenizer: ModelTokenizer
) -> None:
    encoder = SpladeEncoder(spec, tokenizer, batcher)
    alone = [(await encoder.encode([text], Mode.QUERY))[0] for text in TEXTS]
    timings = [EncodeTimings() for _ in range(24)]

    async def ask(at: int) -> None:
        mode = Mode.QUERY if at % 2 else Mode.DOCUMENT
        some = [at % 6, (at + 3) % 6]
        found = await encoder.encode(
            [TEXTS[each] for each in some], mode, caller=Caller(str(at % 5)), timings=timings[at]
        )
        for each, got in zip(some, found, strict=True):
            expected = alone[each]
            assert isinstance(got, Encoding)
            assert isinstance(expected, Encoding)
            assert got.vector.indices.tolist() == expected.vector.indices.tolist()
            np.testing.assert_allclose(got.vector.values, expected.vector.values, atol=1e-5)
            assert (got.tokens_used, got.capped) == (expected.tokens_used, expected.capped)

    await asyncio.gather(*map(ask, range(24)))
    assert max(max(each.batches) for each in timings) > 2
    assert all(each.infer > 0 for each in timings)


async def test_a_token_that_the_graph_refuses_fails_its_text_alone(
    batcher: Batcher, spec: ModelSpec
) -> None:
    async def count(outputs: Outputs, batch: TokenBatch) -> list[int]:
        return np.count_nonzero(outputs["values"], axis=1).tolist()

    graph = ServedGraph(spec, count)
    rows = [np.array([101, id, 102], np.int32) for id in (2000, 30522, 2189)]
    timings = EncodeTimings()
    found = await batcher.run(graph, rows, urgent=False, caller=NOBODY, timings=timings)
    assert isinstance(found[1], InferenceFailed)
    assert found[0] > 0
    assert found[2] > 0
    assert timings.batches == [1, 1]
