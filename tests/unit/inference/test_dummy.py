"""The made-up backend keeps the protocol."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sparsegate_server.encoders.batching import pad
from sparsegate_server.inference.dummy import DummyBackend
from sparsegate_server.models.spec import ModelIdentity, ModelSpec

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
