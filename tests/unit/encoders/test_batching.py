"""Plans of batches: every text once, nothing too large."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.encoders.batching import (
    LOGIT_BYTES_PER_BATCH,
    TOKENS_PER_BATCH,
    pad,
    plan,
)
from sparsegate_server.models.spec import ModelSpec


@given(
    lengths=st.lists(st.integers(3, 512), max_size=80),
    size=st.integers(1, 32),
    logits=st.booleans(),
)
def test_every_text_travels_once_and_fits(
    spec: ModelSpec, lengths: list[int], size: int, logits: bool
) -> None:
    spec = replace(spec, output="logits" if logits else "terms")
    batches = plan(list(enumerate(lengths)), spec, size)
    assert sorted(at for batch in batches for at in batch.positions) == list(range(len(lengths)))
    for batch in batches:
        texts = len(batch.positions)
        assert texts <= size
        assert texts == 1 or texts * batch.length <= TOKENS_PER_BATCH
        if logits:
            assert texts == 1 or texts * batch.length * 30522 * 4 <= LOGIT_BYTES_PER_BATCH
        shortest = min(
            b for b in spec.length_buckets if b >= max(lengths[at] for at in batch.positions)
        )
        assert batch.length == shortest


def test_padding() -> None:
    batch = pad([np.array([7, 8], np.int32), np.array([9], np.int32)], 3)
    assert batch.input_ids.tolist() == [[7, 8, 0], [9, 0, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 0], [1, 0, 0]]
    assert batch.input_ids.dtype == batch.attention_mask.dtype == np.int32
