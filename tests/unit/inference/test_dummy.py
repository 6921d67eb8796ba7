"""The made-up backend keeps the protocol."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sparsegate_server.encoders.batching import pad
from sparsegate_server.encoders.sparsify import rows
from sparsegate_server.inference.dummy import DummyBackend
from sparsegate_server.models.spec import Activation, ModelIdentity, ModelSpec, Output, Pooling

SPEC = ModelSpec("made-up", ModelIdentity("splade", "", "", vocabulary_size=100))
BATCH = pad([np.array([5, 6, 7], np.int32), np.array([5], np.int32)], 16)


async def test_the_same_tokens_give_the_same_terms() -> None:
    one, other = [await DummyBackend().infer(SPEC, BATCH) for _ in range(2)]
    for name in ("indices", "values"):
        assert (one[name] == other[name]).all()
    assert {5, 6, 7} <= set(one["indices"][0].tolist())


async def test_weights_descend_and_the_fullest_row_sets_the_width() -> None:
    values = np.asarray((await DummyBackend().infer(SPEC, BATCH))["values"], np.float32)
    assert (np.diff(values, axis=1) <= 0).all()
    assert (values > 0).sum(axis=1).max() == values.shape[1]
    assert 0 < (values[1] > 0).sum() <= 3


@pytest.mark.parametrize("cap", [1, 2])
async def test_the_width_shows_a_capped_row(cap: int) -> None:
    spec = replace(SPEC, identity=replace(SPEC.identity, max_terms=cap))
    assert (await DummyBackend().infer(spec, BATCH))["values"].shape == (2, cap + 1)


async def test_logits_have_the_shape_of_the_protocol() -> None:
    logits = (await DummyBackend().infer(replace(SPEC, output="logits"), BATCH))["logits"]
    assert logits.shape == (2, 16, 100)
    assert logits.dtype == np.float32


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("activation", ["log1p", "log1p-twice"])
async def test_every_kind_of_output_gives_the_same_vectors(
    pooling: Pooling, activation: Activation
) -> None:
    identity = replace(
        SPEC.identity, pooling=pooling, activation=activation, dropped_terms=(6,), threshold=0.2
    )
    spec = replace(SPEC, identity=identity, positions=True)
    outputs: tuple[Output, ...] = ("terms", "pooled", "logits")
    of_terms, of_pooled, of_logits = [
        rows(each, await DummyBackend().infer(each, BATCH), BATCH.attention_mask)
        for each in (replace(spec, output=output) for output in outputs)
    ]
    for one, other, third in zip(of_terms, of_pooled, of_logits, strict=True):
        assert 6 not in one.vector.indices
        for each in (other, third):
            assert each.vector.indices.tolist() == one.vector.indices.tolist()
            np.testing.assert_allclose(each.vector.values, one.vector.values, rtol=1e-5)
            assert each.positions is not None
            assert one.positions is not None
            assert each.positions.tolist() == one.positions.tolist()
