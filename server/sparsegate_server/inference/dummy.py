"""Made-up vectors, always the same for the same tokens: for tests that need no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.models.spec import ModelSpec

_EXPANSIONS = 3
"""Terms that every token makes: itself and two made-up neighbours."""


class DummyBackend:
    """Every token gives itself and two terms chosen by a hash, with weights from the same hash.

    Two texts that share a token share terms, so that search over such vectors finds something.
    """

    name = "dummy"
    side_by_side = True

    async def infer(
        self,
        spec: ModelSpec,
        batch: TokenBatch,
        *,
        timeout: float | None = None,  # noqa: ARG002
    ) -> Mapping[str, NDArray[np.generic]]:
        """See `InferenceBackend.infer`; never fails and never waits."""
        vocabulary_size = spec.identity.vocabulary_size
        terms, weights = _made_up(batch, vocabulary_size)
        if spec.output == "logits":
            logits = np.full((*batch.input_ids.shape, vocabulary_size), -1.0, np.float32)
            np.put_along_axis(logits, terms, _logits(weights, spec), axis=2)
            logits[:, :, list(spec.identity.dropped_terms)] = -1
            return {"logits": logits}
        pooled, where = _pool(terms, weights, spec)
        if spec.output == "pooled":
            return _with_positions(spec, {"pooled": pooled}, where)
        fullest = int((pooled > 0).sum(axis=1).max(initial=1))
        k = min(fullest, spec.identity.max_terms + 1)
        indices = np.argsort(-pooled, axis=1, kind="stable")[:, :k]
        values = np.take_along_axis(pooled, indices, axis=1)
        found = {"indices": indices.astype(np.uint32), "values": values}
        return _with_positions(spec, found, np.take_along_axis(where, indices, axis=1))

    async def ready(self, spec: ModelSpec) -> bool:  # noqa: ARG002
        return True

    async def load(self, spec: ModelSpec) -> None:
        """Every model is there."""

    async def unload(self, spec: ModelSpec, *, successor: ModelSpec | None = None) -> None:
        """Nothing is held."""

    async def close(self) -> None:
        return None


def _pool(
    terms: NDArray[np.int64], weights: NDArray[np.float32], spec: ModelSpec
) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Every term's weight and the token that gave most of it, both [batch, vocabulary]."""
    join = np.maximum if spec.identity.pooling == "max" else np.add
    pooled = np.zeros((len(terms), spec.identity.vocabulary_size), np.float32)
    where = np.zeros(pooled.shape, np.uint16)
    places = np.repeat(np.arange(terms.shape[1]), _EXPANSIONS)
    for row, positions, row_terms, row_weights in zip(pooled, where, terms, weights, strict=True):
        join.at(row, row_terms.ravel(), row_weights.ravel())
        # The last that is written stays: the greatest weight, and of equal ones the first token's.
        order = np.lexsort((-places, row_weights.ravel()))
        positions[row_terms.ravel()[order]] = places[order]
    pooled[:, list(spec.identity.dropped_terms)] = 0
    pooled[pooled <= spec.identity.threshold] = 0
    where[pooled == 0] = 0
    return pooled, where


def _with_positions(
    spec: ModelSpec, outputs: dict[str, NDArray[Any]], positions: NDArray[np.uint16]
) -> dict[str, NDArray[Any]]:
    return {**outputs, "positions": positions} if spec.positions else outputs


def _logits(weights: NDArray[np.float32], spec: ModelSpec) -> NDArray[np.float32]:
    """The logits that have these weights."""
    once = np.expm1(weights)
    return np.expm1(once) if spec.identity.activation == "log1p-twice" else once


def _made_up(
    batch: TokenBatch, vocabulary_size: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Terms int64 and weights float32, both [batch, length, expansions]; 0 where padded."""
    ids = batch.input_ids.astype(np.uint64)[:, :, None]
    step = np.arange(_EXPANSIONS, dtype=np.uint64)
    mixed = _mix(ids * np.uint64(_EXPANSIONS) + step)
    terms = np.where(step == 0, ids, mixed % np.uint64(vocabulary_size)).astype(np.int64)
    unit = (mixed >> np.uint64(40)).astype(np.float32) / np.float32(2**24)
    weights = (np.float32(0.5) + unit) / (1 + step).astype(np.float32)
    return terms, np.where(batch.attention_mask[:, :, None] == 1, weights, np.float32(0))


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), modulo 2⁶⁴."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
