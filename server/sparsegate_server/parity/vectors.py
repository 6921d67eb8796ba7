"""Vectors of many texts out of a graph, by the code that serves, in batches padded as it pads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.encoders import sparsify
from sparsegate_server.encoders.batching import BatchRules, pad
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.models.spec import ModelIdentity, ModelSpec
from sparsegate_server.types import SparseVector

Ids = NDArray[np.int32]
Outputs = Mapping[str, NDArray[Any]]
Run = Callable[[TokenBatch], Outputs]
"""A graph; called by several threads at once."""
Advance = Callable[[int], None]
"""Called with the number of texts that were done."""

RULES = BatchRules(max_texts=32, max_tokens=2048, step=0, overhead=0)
"""The few fixed lengths that Triton gets: of the gateway's two ways the one that pads more."""


@dataclass(frozen=True, eq=False, slots=True)
class Weights:
    """What was made of one text.

    Attributes:
        vector: its terms.
        floor: the weight that a term which is left out has at most.
        sound: whether all numbers that it came from are finite.
    """

    vector: SparseVector
    floor: float
    sound: bool


class VectorSource(Protocol):
    """Makes vectors of texts. `name` says how, for people."""

    name: str

    def encode(self, rows: Sequence[Ids], advance: Advance) -> list[Weights]:
        """Args:
        rows: the tokens of each text, int32 [n], special ones included.

        Raises:
            InferenceFailed: the graph failed, or returned what its spec does not say.
        """
        ...


class GraphVectors:
    """A graph, whatever kind of output it has.

    Args:
        run: the graph.
        workers: batches that run side by side; 0 means one a core. Each has one thread, because
            more of them could share out the sums otherwise, and round otherwise.
    """

    def __init__(self, name: str, spec: ModelSpec, run: Run, workers: int = 0) -> None:
        self.name = name
        self._spec = spec
        self._run = run
        self._workers = workers or os.cpu_count() or 1

    def encode(self, rows: Sequence[Ids], advance: Advance) -> list[Weights]:
        """See `VectorSource`."""
        found: dict[int, Weights] = {}
        batches = list(batched(self._spec, rows))
        with ThreadPoolExecutor(self._workers) as pool:
            weights = pool.map(lambda batch: self._batch([rows[at] for at in batch]), batches)
            for batch, made in zip(batches, weights, strict=True):
                found.update(zip(batch, made, strict=True))
                advance(len(batch))
        return [found[at] for at in range(len(rows))]

    def _batch(self, rows: Sequence[Ids]) -> list[Weights]:
        batch = padded(self._spec, rows)
        outputs = self._run(batch)
        made = sparsify.rows(self._spec, outputs, batch.attention_mask)
        sound = _sound_rows(outputs, batch.attention_mask)
        identity = self._spec.identity
        return [
            Weights(row.vector, floor(row.vector, row.capped, identity), bool(good))
            for row, good in zip(made, sound, strict=True)
        ]


def batched(spec: ModelSpec, rows: Sequence[Ids]) -> Iterator[list[int]]:
    """Positions of texts by batches of one padded length, the shortest texts first."""
    lengths = [RULES.padded(spec, len(row)) for row in rows]
    order = sorted(range(len(rows)), key=lengths.__getitem__)
    for length, group in groupby(order, key=lengths.__getitem__):
        alike = list(group)
        most = RULES.capacity(spec, length)
        yield from (alike[first : first + most] for first in range(0, len(alike), most))


def padded(spec: ModelSpec, rows: Sequence[Ids]) -> TokenBatch:
    """One batch, as long as its longest text needs."""
    return pad(rows, RULES.padded(spec, max(len(row) for row in rows)))


def floor(vector: SparseVector, capped: bool, identity: ModelIdentity) -> float:
    """The weight that a term which the vector leaves out has at most."""
    return float(vector.values.min()) if capped else identity.threshold


def _sound_rows(outputs: Outputs, attention_mask: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether a row's numbers are finite, bool [batch]; logits of padding are never read."""
    sound = np.ones(len(attention_mask), np.bool_)
    for name, array in outputs.items():
        if array.dtype.kind == "f":
            finite = np.isfinite(array)
            if name == "logits":
                finite |= (attention_mask == 0)[:, :, None]
            sound &= finite.reshape(len(finite), -1).all(axis=1)
    return sound
