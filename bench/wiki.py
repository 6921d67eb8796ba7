"""Reads encoded passages and questions: `vectors.npz` of wiki200k (see the README beside it)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from sparsegate_server.index.forward import Forward, indptr_of
from sparsegate_server.types import SparseVector

VOCABULARY = 30_522
JITTER_SEED = 20_240_601
_Result = TypeVar("_Result")


class Data(NamedTuple):
    documents: Forward
    queries: list[SparseVector]


def read(path: Path, *, jitter: bool = True) -> Data:
    """Documents and queries.

    Args:
        jitter: move weights within ±1/128 (a fixed seed, in float32), as the data's description
            demands, so that no engine profits from their rounding to 1/64.
    """
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    indptr = indptr_of(arrays["doc_lengths"].astype(np.int64))
    high = arrays["doc_index_deltas_hi"].astype(np.int64) << 8
    sums = np.cumsum(arrays["doc_index_deltas_lo"].astype(np.int64) | high)
    before = np.concatenate([[0], sums])[indptr[:-1]]
    terms = (sums - np.repeat(before, np.diff(indptr))).astype(np.uint32)
    weights = arrays["doc_weights_u8"].astype(np.float32) / 64
    if jitter:
        noise = np.random.default_rng(JITTER_SEED).uniform(-1 / 128, 1 / 128, len(weights))
        weights = (weights + noise).astype(np.float32)
    queries = Forward(
        indptr_of(arrays["query_lengths"].astype(np.int64)),
        arrays["query_indices"].astype(np.uint32),
        arrays["query_weights"],
    )
    return Data(Forward(indptr, terms, weights), [queries.row(row) for row in range(len(queries))])


def payload(number: int) -> dict[str, object]:
    """About 200 bytes of JSON."""
    return {
        "title": f"Passage {number} of an encyclopaedia that many people have written together",
        "section": f"section-{number % 100}",
        "year": 1900 + number % 120,
        "tags": ["encyclopaedia", "english", f"tag-{number % 1000}"],
        "address": f"https://example.org/wiki/{number:010d}",
    }
