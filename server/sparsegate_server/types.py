"""The few values that every room hands to the next: ids, payloads, sparse vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.errors import InvalidVector, UnknownTerm

DocumentId: TypeAlias = int | str
"""An unsigned 64-bit integer or a string of 1 to 256 UTF-8 bytes; integers order before strings."""

PayloadValue: TypeAlias = (
    bool | int | float | str | list["PayloadValue"] | dict[str, "PayloadValue"] | None
)
Payload: TypeAlias = dict[str, PayloadValue]

MAX_WEIGHT = 1e6
"""Largest weight accepted from a caller. A sum of 4,096 products of such weights is far below
float32's limit, so that no score overflows."""


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Weighted terms.

    Attributes:
        indices: uint32 [n], term ids, strictly ascending.
        values: float32 [n], finite and above zero.
    """

    indices: NDArray[np.uint32]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indices)

    def within(self, terms: range) -> SparseVector:
        """Only the weights of these terms."""
        start, end = np.searchsorted(self.indices, (terms.start, terms.stop))
        return SparseVector(self.indices[start:end], self.values[start:end])

    @classmethod
    def from_untrusted(
        cls, indices: NDArray[np.uint32], values: NDArray[np.float32], vocabulary_size: int
    ) -> SparseVector:
        """Checks and normalises a caller's vector: sorts by term id and drops zero weights.

        Args:
            indices: uint32 [n], in any order.
            values: float32 [n].
            vocabulary_size: term ids must be below it.

        Raises:
            InvalidVector: unequal lengths, no weight above zero, a duplicate term id, or a weight
                that is NaN, infinite, negative or above `MAX_WEIGHT`.
            UnknownTerm: a term id outside the vocabulary.
        """
        if len(indices) != len(values):
            raise InvalidVector(
                f"{len(indices)} indices but {len(values)} values: send one value per index",
                field="values",
            )
        # NaN fails both comparisons, so one pass finds every bad weight.
        good = (values >= 0) & (values <= MAX_WEIGHT)
        if not good.all():
            at = int(np.argmin(good))
            raise InvalidVector(
                f"weight {values[at]} is not a number from 0 to {MAX_WEIGHT:g}",
                field=f"values[{at}]",
            )
        known = indices < vocabulary_size
        if not known.all():
            at = int(np.argmin(known))
            raise UnknownTerm(
                f"term id {indices[at]} is outside the vocabulary of {vocabulary_size} terms",
                field=f"indices[{at}]",
            )
        order = np.argsort(indices, kind="stable")
        ordered = indices[order]
        repeated = np.flatnonzero(ordered[1:] == ordered[:-1])
        if len(repeated):
            raise InvalidVector(
                f"term id {ordered[repeated[0]]} occurs more than once: add its weights up first",
                field=f"indices[{int(order[repeated[0] + 1])}]",
            )
        weights = values[order]
        kept = weights > 0
        if not kept.any():
            raise InvalidVector("no weight is above zero", field="values")
        return cls(
            np.ascontiguousarray(ordered[kept], np.uint32),
            np.ascontiguousarray(weights[kept], np.float32),
        )
