"""The encoder's own work: errors of single texts, batches, deadlines, caps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sparsegate_server.encoders.base import Caller, EncodeTimings, Encoding, Mode, OnTruncation
from sparsegate_server.errors import (
    BlankText,
    DeadlineExceeded,
    InferenceFailed,
    InferenceUnavailable,
    NoKnownTokens,
    Overloaded,
    TextTooLong,
)
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.dummy import DummyBackend
from sparsegate_server.models.spec import ModelSpec

from .conftest import MakeEncoder

LONG = "word " * 600


class Scripted(DummyBackend):
    """Waits, fails, and remembers the batches that came."""

    def __init__(self, *, seconds: float = 0.0, fail_at: int = -1) -> None:
        self.batches: list[TokenBatch] = []
        self.cancelled = 0
        self._seconds = seconds
        self._fail_at = fail_at

    async def infer(
        self, spec: ModelSpec, batch: TokenBatch, *, timeout: float | None = None
    ) -> Mapping[str, NDArray[np.generic]]:
        self.batches.append(batch)
        if len(self.batches) - 1 == self._fail_at:
            raise InferenceUnavailable("gone")
        try:
            await asyncio.sleep(self._seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return await super().infer(spec, batch, timeout=timeout)


async def test_each_text_has_its_own_outcome(make_encoder: MakeEncoder) -> None:
    texts = ["music", "", "🧿", LONG, " \n", "a film"]
    found = await make_encoder().encode(texts, Mode.DOCUMENT, on_truncation=OnTruncation.ERROR)
    kinds = [Encoding, BlankText, NoKnownTokens, TextTooLong, BlankText, Encoding]
    assert [type(each) for each in found] == kinds


async def test_a_long_text_is_flagged(make_encoder: MakeEncoder) -> None:
    found = await make_encoder().encode([LONG, "short"], Mode.DOCUMENT)
    facts = [(e.truncated, e.tokens_used) for e in found if isinstance(e, Encoding)]
    assert facts == [(True, 512), (False, 3)]


async def test_no_texts_and_only_bad_texts_need_no_inference(make_encoder: MakeEncoder) -> None:
    backend = Scripted()
    encoder = make_encoder(backend)
    assert await encoder.encode([], Mode.QUERY) == []
    (blank,) = await encoder.encode([""], Mode.QUERY)
    assert isinstance(blank, BlankText)
    assert backend.batches == []


async def test_texts_of_one_length_travel_together(make_encoder: MakeEncoder) -> None:
    backend, timings = Scripted(), EncodeTimings()
    texts = ["one", "two", "three", "four", "five", "six " * 20]
    await make_encoder(backend).encode(texts, Mode.DOCUMENT, timings=timings)
    shapes = sorted(batch.input_ids.shape for batch in backend.batches)
    assert shapes == [(1, 8), (1, 24), (4, 8)]
    assert sorted(timings.batches) == [1, 1, 4]
    assert timings.tokenize > 0


async def test_both_outputs_give_the_same_vectors(
    make_encoder: MakeEncoder, spec: ModelSpec
) -> None:
    texts = ["a movie about music", "word " * 100]
    terms = await make_encoder().encode(texts, Mode.DOCUMENT)
    logits = await make_encoder(spec=replace(spec, output="logits")).encode(texts, Mode.DOCUMENT)
    for one, other in zip(terms, logits, strict=True):
        assert isinstance(one, Encoding)
        assert isinstance(other, Encoding)
        assert one.vector.indices.tolist() == other.vector.indices.tolist()
        np.testing.assert_allclose(one.vector.values, other.vector.values, atol=1e-6)


@pytest.mark.parametrize("output", ["terms", "logits"])
async def test_a_capped_vector_is_flagged(
    make_encoder: MakeEncoder, spec: ModelSpec, output: str
) -> None:
    full = await make_encoder().encode(["music films"], Mode.DOCUMENT)
    assert isinstance(full[0], Encoding)
    terms = len(full[0].vector)
    for cap, capped in ((terms, False), (terms - 1, True)):
        identity = replace(spec.identity, max_terms=cap)
        small = replace(spec, identity=identity, output=output)
        (found,) = await make_encoder(spec=small).encode(["music films"], Mode.DOCUMENT)
        assert isinstance(found, Encoding)
        assert (len(found.vector), found.capped) == (cap, capped)


async def test_a_failed_batch_fails_the_request_and_cancels_the_rest(
    make_encoder: MakeEncoder,
) -> None:
    backend = Scripted(seconds=30, fail_at=1)
    texts = ["one", "two " * 20, "three " * 40]
    with pytest.raises(InferenceUnavailable):
        await make_encoder(backend, in_flight=3).encode(texts, Mode.DOCUMENT)
    await asyncio.sleep(0)  # the cancellation is on its way
    assert (len(backend.batches), backend.cancelled) == (3, 2)


async def test_a_batch_whose_time_is_up_costs_nothing(make_encoder: MakeEncoder) -> None:
    backend = Scripted(seconds=0.2)
    encoder = make_encoder(backend, in_flight=1)
    busy = asyncio.create_task(encoder.encode(["busy"], Mode.DOCUMENT))
    await asyncio.sleep(0.05)
    with pytest.raises(DeadlineExceeded):
        await encoder.encode(
            ["late"], Mode.DOCUMENT, caller=Caller(deadline=time.monotonic() + 0.05)
        )
    await busy
    assert len(backend.batches) == 1


async def test_too_many_tokens_are_refused_before_any_runs(make_encoder: MakeEncoder) -> None:
    backend = Scripted()
    encoder = make_encoder(backend, waiting=8)  # of 9
    with pytest.raises(Overloaded):
        await encoder.encode(["one", "two", "three"], Mode.DOCUMENT)
    assert backend.batches == []


@pytest.mark.parametrize("output", ["terms", "logits"])
async def test_an_answer_of_the_wrong_shape(
    make_encoder: MakeEncoder, spec: ModelSpec, output: str
) -> None:
    class Wrong(DummyBackend):
        async def infer(
            self, spec: ModelSpec, batch: TokenBatch, *, timeout: float | None = None
        ) -> Mapping[str, NDArray[np.generic]]:
            found = await super().infer(spec, batch, timeout=timeout)
            return {
                name: array[:, :-1] if name != "indices" else array for name, array in found.items()
            }

    with pytest.raises(InferenceFailed, match="returned"):
        await make_encoder(Wrong(), spec=replace(spec, output=output)).encode(["a"], Mode.QUERY)


async def test_tokenize_names_the_pieces(make_encoder: MakeEncoder) -> None:
    encoder = make_encoder()
    (short, long) = await encoder.tokenize(["Spinal Tap", LONG])
    assert [token.text for token in short.tokens] == ["[CLS]", "spinal", "tap", "[SEP]"]
    assert (len(long.tokens), long.truncated, short.truncated) == (512, True, False)
    assert encoder.term(short.tokens[1].id) == "spinal"
