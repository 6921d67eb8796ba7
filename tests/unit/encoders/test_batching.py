"""What a batch may hold, and how it is padded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.encoders.batching import LOGIT_BYTES_PER_BATCH, BatchRules, pad
from sparsegate_server.models.spec import ModelSpec


@given(tokens=st.integers(1, 512), step=st.sampled_from([0, 1, 8, 16, 24]))
def test_a_text_is_padded_to_the_next_length(spec: ModelSpec, tokens: int, step: int) -> None:
    lengths = [*range(step, 512, step), 512] if step else spec.length_buckets
    rules = BatchRules(32, 4096, step, overhead=0)
    assert rules.padded(spec, tokens) == min(each for each in lengths if each >= tokens)


@given(
    length=st.integers(1, 512),
    texts=st.integers(1, 256),
    tokens=st.integers(1, 8192),
    logits=st.booleans(),
)
def test_a_batch_is_as_large_as_all_bounds_allow(
    spec: ModelSpec, length: int, texts: int, tokens: int, logits: bool
) -> None:
    spec = replace(spec, output="logits" if logits else "terms")
    capacity = BatchRules(texts, tokens, 0, overhead=0).capacity(spec, length)

    def fits(count: int) -> bool:
        small = not logits or count * length * 30522 * 4 <= LOGIT_BYTES_PER_BATCH
        return count <= texts and count * length <= tokens and small

    assert capacity == 1 or fits(capacity)
    assert not fits(capacity + 1)


@pytest.mark.parametrize("quiet", [True, False])
def test_a_batch_may_be_larger_while_no_query_comes(spec: ModelSpec, quiet: bool) -> None:
    rules = BatchRules(32, 512, 0, overhead=0, quiet_tokens=1024)
    assert rules.capacity(spec, 128, quiet=quiet) == (8 if quiet else 4)
    assert BatchRules(32, 512, 0, overhead=0).capacity(spec, 128, quiet=quiet) == 4


@pytest.mark.parametrize("may", [True, False])
def test_a_gpu_has_rules_of_its_own(spec: ModelSpec, may: bool) -> None:
    rules = BatchRules(32, 512, 16, overhead=0, quiet_tokens=1024, gpu_tokens=2048, may_use_gpu=may)
    gpu = replace(spec, device="gpu")
    assert rules.capacity(gpu, 128, quiet=True) == (16 if may else 8)
    assert rules.padded(gpu, 65) == (96 if may else 80)
    assert (rules.capacity(spec, 128), rules.padded(spec, 65)) == (4, 80)


def test_padding() -> None:
    batch = pad([np.array([7, 8], np.int32), np.array([9], np.int32)], 3)
    assert batch.input_ids.tolist() == [[7, 8, 0], [9, 0, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 0], [1, 0, 0]]
    assert batch.input_ids.dtype == batch.attention_mask.dtype == np.int32
