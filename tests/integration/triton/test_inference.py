"""What the real Triton computes, and what it puts on the wire."""

from __future__ import annotations

import asyncio
import http.client
import time
from dataclasses import replace

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from sparsegate_server.encoders.base import EncodeTimings, Encoding, Mode
from sparsegate_server.encoders.batching import pad
from sparsegate_server.encoders.registry import build_encoder
from sparsegate_server.errors import (
    DeadlineExceeded,
    FingerprintMismatch,
    InferenceFailed,
    ModelNotFound,
)
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.failures import translate
from sparsegate_server.inference.onnx import OnnxBackend
from sparsegate_server.inference.triton import TritonBackend
from sparsegate_server.inference.tritonserver import TritonServer
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.settings import Settings

from ...golden import FILMS, NOT_BLANK, TOLERANCE, difference


def row(*tokens: int, length: int = 16) -> TokenBatch:
    return pad([np.array([101, *tokens, 102], np.int32)], length)


@pytest.mark.parametrize("model", ["splade-tiny", "splade-tiny-logits"])
async def test_the_golden_vectors_are_met(
    chosen: Settings, backend: TritonBackend, model: str
) -> None:
    folder = chosen.models.repository / model
    encoder = build_encoder(ModelSpec.load(folder), folder, backend, chosen)
    found = await encoder.encode([each.text for each in NOT_BLANK], Mode.DOCUMENT)
    for golden, result in zip(NOT_BLANK, found, strict=True):
        assert isinstance(result, Encoding)
        assert result.tokens_used == golden.tokens_used
        assert difference(result.vector, golden.vector) <= TOLERANCE


async def test_the_reply_is_lossless_and_small(
    server: TritonServer, chosen: Settings, terms: ModelSpec, backend: TritonBackend
) -> None:
    """At most 6 bytes (uint16 id, float32 weight) a term of the batch's fullest row."""
    folder = chosen.models.repository / terms.name
    encoder = build_encoder(terms, folder, backend, chosen)
    texts = [film["movie_description"] for film in FILMS][:8]
    tokens = [
        np.array([token.id for token in each.tokens], np.int32)
        for each in await encoder.tokenize(texts)
    ]
    batch = pad(tokens, 64)
    inputs = []
    for name, array in (("input_ids", batch.input_ids), ("attention_mask", batch.attention_mask)):
        tensor = triton.InferInput(name, array.shape, "INT32")
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    with triton.InferenceServerClient(server.url) as client:
        reply = client.infer(terms.name, inputs)
    values = reply.as_numpy("values")
    fullest = int((values > 0).sum(axis=1).max())
    sent = sum(len(content) for content in reply.get_response().raw_output_contents)
    assert sent <= 6 * fullest * len(texts)

    whole = OnnxBackend(chosen.models.repository, [replace(terms, name="splade-tiny-logits")])
    logits = await whole.infer(replace(terms, name="splade-tiny-logits"), batch)
    await whole.close()
    masked = np.where(batch.attention_mask[:, :, None] == 1, logits["logits"], -np.inf)
    expected = np.log1p(np.maximum(masked.max(axis=1), 0))
    found = np.zeros_like(expected)
    np.put_along_axis(found, reply.as_numpy("indices").astype(np.int64), values, axis=1)
    assert (found > 0).sum() == (expected > 0).sum()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    print(f"{sent / len(texts):.0f} bytes a document, fullest row {fullest} terms")  # noqa: T201


async def test_requests_of_one_dynamic_batch_get_their_own_trimmed_replies(
    server: TritonServer, chosen: Settings, terms: ModelSpec, backend: TritonBackend
) -> None:
    """Many clients at once, of fullest rows from a few to a hundred terms."""
    folder = chosen.models.repository / terms.name
    encoder = build_encoder(terms, folder, backend, chosen)
    tokenized = await encoder.tokenize([each.text for each in NOT_BLANK])
    texts = [[token.id for token in each.tokens] for each in tokenized if len(each.tokens) <= 64]
    batches = [pad([np.array(text, np.int32)], 64) for text in texts] * 4
    before = _executions(server, terms.name)
    replies = await asyncio.gather(*(backend.infer(terms, batch) for batch in batches))
    executions = _executions(server, terms.name) - before
    assert executions < len(batches)
    alone = OnnxBackend(chosen.models.repository, [terms])
    for batch, reply in zip(batches, replies, strict=True):
        expected = await alone.infer(terms, batch)
        assert reply["values"].shape == expected["values"].shape
        assert (reply["indices"] == expected["indices"]).all()
        np.testing.assert_allclose(
            np.asarray(reply["values"], float), np.asarray(expected["values"], float), atol=1e-5
        )
    await alone.close()


async def test_a_bad_request_fails_alone(backend: TritonBackend, terms: ModelSpec) -> None:
    """Ids are validated before they are sent; should one slip through, its batch survives it."""
    good = [row(2000 + at) for at in range(12)]
    bad = row(30522)
    results = await asyncio.gather(
        *(backend.infer(terms, batch) for batch in [*good[:6], bad, *good[6:]]),
        return_exceptions=True,
    )
    assert [at for at, each in enumerate(results) if isinstance(each, BaseException)] == [6]
    assert isinstance(results[6], InferenceFailed)


async def test_a_model_that_triton_does_not_serve(backend: TritonBackend, terms: ModelSpec) -> None:
    other = replace(terms, name="other")
    assert not await backend.ready(other)
    with pytest.raises(ModelNotFound, match="does not serve model 'other'"):
        await backend.infer(other, row(2000))


async def test_a_model_of_another_fingerprint_is_refused(
    backend: TritonBackend, terms: ModelSpec
) -> None:
    other = replace(terms, identity=replace(terms.identity, threshold=0.5))
    assert not await backend.ready(other)
    with pytest.raises(FingerprintMismatch):
        await backend.infer(other, row(2000))
    assert await backend.ready(terms)


async def test_a_query_does_not_wait_behind_bulk(
    chosen: Settings, terms: ModelSpec, backend: TritonBackend
) -> None:
    encoder = build_encoder(terms, chosen.models.repository / terms.name, backend, chosen)
    started = time.monotonic()
    bulk = asyncio.create_task(encoder.encode(["word " * 500] * 64, Mode.DOCUMENT))
    await asyncio.sleep(0.2)
    asked = time.monotonic()
    await encoder.encode(["a movie about music"], Mode.QUERY)
    waited = time.monotonic() - asked
    await bulk
    assert waited < (time.monotonic() - started) / 2


async def test_a_request_may_bring_its_own_time_for_the_queue(
    server: TritonServer, backend: TritonBackend, terms: ModelSpec
) -> None:
    """So that Triton drops what nobody waits for any more; the client itself would wait here."""
    long = row(*range(2000, 2500), length=512)
    batch = TokenBatch(np.repeat(long.input_ids, 8, 0), np.repeat(long.attention_mask, 8, 0))
    busy = [asyncio.create_task(backend.infer(terms, batch)) for _ in range(6)]
    while not (_pending(server, terms.name) or any(t.done() for t in busy)):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    inputs = []
    for name, array in (
        ("input_ids", row(2000).input_ids),
        ("attention_mask", row(2000).input_ids),
    ):
        tensor = triton.InferInput(name, array.shape, "INT32")
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)

    def ask() -> None:
        with triton.InferenceServerClient(server.url) as client:
            client.infer(terms.name, inputs, timeout=1000)

    with pytest.raises(InferenceServerException) as refused:
        await asyncio.to_thread(ask)
    found = translate(server.url, terms.name, "UNAVAILABLE", str(refused.value.message()))
    assert refused.value.status() == "StatusCode.UNAVAILABLE"
    assert isinstance(found, DeadlineExceeded)
    await asyncio.gather(*busy)


async def test_timings_are_told(chosen: Settings, terms: ModelSpec, backend: TritonBackend) -> None:
    timings = EncodeTimings()
    encoder = build_encoder(terms, chosen.models.repository / terms.name, backend, chosen)
    await encoder.encode(["a movie about music"], Mode.QUERY, timings=timings)
    assert 0 < timings.infer < 10
    assert timings.batches == [1]


def _executions(server: TritonServer, model: str) -> int:
    """How many batches Triton has run."""
    return _metric(server, "nv_inference_exec_count", model)


def _pending(server: TritonServer, model: str) -> int:
    """How many requests wait in Triton's queue."""
    return _metric(server, "nv_inference_pending_request_count", model)


def _metric(server: TritonServer, name: str, model: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.ports.metrics, timeout=5)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    wanted = f'{name}{{model="{model}",'
    return sum(int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(wanted))
