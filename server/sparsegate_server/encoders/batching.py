"""Which texts travel together: pure planning and padding."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.models.spec import ModelSpec

TOKENS_PER_BATCH = 4096
"""Bounds how long one batch keeps a core: 0.45 s for splade-tiny on one core, where 32 texts of 512
tokens would take 2.3 s and everybody else would wait."""

LOGIT_BYTES_PER_BATCH = 128 * 2**20
"""Raw logits are 15.6 MB a text of 128 tokens, and one gRPC message carries less than 2 GB."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts of one padded length: their positions in the request, and that length in tokens."""

    positions: tuple[int, ...]
    length: int


def plan(lengths: Sequence[tuple[int, int]], spec: ModelSpec, max_batch_size: int) -> list[Batch]:
    """Groups texts by padded length and splits each group.

    Args:
        lengths: (position, tokens) of each text.
        spec: its buckets are the padded lengths.
        max_batch_size: most texts of a batch.
    """
    buckets = spec.length_buckets
    groups: dict[int, list[int]] = {}
    for position, tokens in lengths:
        groups.setdefault(buckets[bisect_left(buckets, tokens)], []).append(position)
    batches = []
    for length, positions in sorted(groups.items()):
        size = min(max_batch_size, _fitting(spec, length))
        batches += [
            Batch(tuple(positions[at : at + size]), length) for at in range(0, len(positions), size)
        ]
    return batches


def pad(rows: Sequence[NDArray[np.int32]], length: int) -> TokenBatch:
    """Token ids int32 [n] of several texts, padded on the right to `length` tokens."""
    input_ids = np.zeros((len(rows), length), np.int32)
    attention_mask = np.zeros((len(rows), length), np.int32)
    for at, ids in enumerate(rows):
        input_ids[at, : len(ids)] = ids
        attention_mask[at, : len(ids)] = 1
    return TokenBatch(input_ids, attention_mask)


def _fitting(spec: ModelSpec, length: int) -> int:
    """How many texts of a padded length one batch may hold."""
    texts = TOKENS_PER_BATCH // length
    if spec.output == "logits":
        row = length * spec.identity.vocabulary_size * np.dtype(np.float32).itemsize
        texts = min(texts, LOGIT_BYTES_PER_BATCH // row)
    return max(1, texts)
