"""Texts of token ids for small models, and the formulas of their vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.encoders.sparsify import Row
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.spec import Activation, Output, Pooling

from . import bert_oracle

TEXTS = [[2, 7, 9, 3], [2, 3], [2, 11, 12, 13, 14, 15, 16, 17, 18, 19, 3]]
POOLINGS: tuple[Pooling, ...] = ("max", "sum")
ACTIVATIONS: tuple[Activation, ...] = ("log1p", "log1p-twice")
OUTPUTS: tuple[Output, ...] = ("terms", "pooled", "logits")
SPECIALS = (0, 1, 2, 3, 4)


def batch(texts: list[list[int]], length: int = 16) -> TokenBatch:
    ids = np.zeros((len(texts), length), np.int32)
    mask = np.zeros_like(ids)
    for at, text in enumerate(texts):
        ids[at, : len(text)] = text
        mask[at, : len(text)] = 1
    return TokenBatch(ids, mask)


def dense(row: Row, vocabulary: int = 50) -> NDArray[np.float64]:
    weights = np.zeros(vocabulary)
    weights[row.vector.indices] = row.vector.values
    return weights


def token_weights(
    checkpoint: Checkpoint, text: list[int], activation: Activation = "log1p"
) -> NDArray[np.float64]:
    """float64 [tokens, vocabulary]."""
    weights = np.log1p(np.maximum(bert_oracle.logits(checkpoint, text), 0))
    return np.log1p(weights) if activation == "log1p-twice" else weights


def pooled(weights: NDArray[np.float64], pooling: Pooling) -> NDArray[np.float64]:
    pooled: NDArray[np.float64] = weights.max(axis=0) if pooling == "max" else weights.sum(axis=0)
    return pooled
