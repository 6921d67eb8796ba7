"""Forward vectors: for every document its weighted terms, as compressed sparse rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.errors import InvalidVector, UnknownTerm
from sparsegate_server.index import kernels
from sparsegate_server.types import MAX_WEIGHT, SparseVector

TermIds: TypeAlias = NDArray[np.unsignedinteger[Any]]
"""uint16 or uint32, see `term_type`."""


@dataclass(frozen=True, slots=True, eq=False)
class Forward:
    """Rows of ascending term ids with their weights.

    Attributes:
        indptr: int64 [n + 1], row i is `terms[indptr[i]:indptr[i + 1]]`.
        terms: term ids, strictly ascending in a row.
        weights: float32, finite and above zero.
    """

    indptr: NDArray[np.int64]
    terms: TermIds
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def row(self, row: int) -> SparseVector:
        """A copy of one row, so that holding it does not hold all."""
        span = slice(self.indptr[row], self.indptr[row + 1])
        return SparseVector(self.terms[span].astype(np.uint32), self.weights[span].copy())

    def lengths(self, rows: NDArray[np.int64], terms: range | None = None) -> NDArray[np.int64]:
        """How many weights each of some rows has, of `terms` or at all: int64 [n]."""
        if terms is None:
            return self.indptr[rows + 1] - self.indptr[rows]
        counts = np.empty(len(rows), np.int64)
        kernels.count_terms(self.indptr, self.terms, rows, terms.start, terms.stop, counts)
        return counts

    @classmethod
    def of(cls, vectors: Sequence[SparseVector]) -> Forward:
        """Rows of `vectors`.

        Raises:
            InvalidVector: a vector with unequal numbers of indices and values.
        """
        lengths = np.fromiter((len(each.indices) for each in vectors), np.int64, len(vectors))
        values = np.fromiter((len(each.values) for each in vectors), np.int64, len(vectors))
        if (unequal := np.flatnonzero(lengths != values)).size:
            at = int(unequal[0])
            raise InvalidVector(
                f"{lengths[at]} indices but {values[at]} values: send one value per index",
                field=f"documents[{at}].vector.values",
            )
        if not vectors:
            return cls(np.zeros(1, np.int64), np.empty(0, np.uint32), np.empty(0, np.float32))
        return cls(
            indptr_of(lengths),
            np.concatenate([each.indices for each in vectors], dtype=np.uint32),
            np.concatenate([each.values for each in vectors], dtype=np.float32),
        )

    def check(self, vocabulary: int) -> None:
        """Refuses what the kernels could not bear.

        Raises:
            UnknownTerm: a term id that is not below `vocabulary`.
            InvalidVector: term ids that do not ascend, or a weight that is not above zero and at
                most `MAX_WEIGHT`.
        """
        fault, row, at = kernels.check_rows(
            self.indptr,
            np.ascontiguousarray(self.terms, np.uint32),
            self.weights,
            vocabulary,
            np.float32(MAX_WEIGHT),
        )
        place = int(self.indptr[row]) + at
        vector = f"documents[{row}].vector"
        if fault == kernels.UNKNOWN_TERM:
            raise UnknownTerm(
                f"term id {self.terms[place]} is outside the vocabulary of {vocabulary} terms",
                field=f"{vector}.indices[{at}]",
            )
        if fault == kernels.UNSORTED:
            raise InvalidVector(
                "term ids must ascend without repetition", field=f"{vector}.indices[{at}]"
            )
        if fault == kernels.BAD_WEIGHT:
            raise InvalidVector(
                f"weight {self.weights[place]} is not above 0 and at most {MAX_WEIGHT:g}",
                field=f"{vector}.values[{at}]",
            )

    def stored(self, vocabulary: int) -> Forward:
        """The same rows with the term type of a vocabulary, which they have passed `check` for."""
        return Forward(self.indptr, self.terms.astype(term_type(vocabulary)), self.weights)

    @classmethod
    def gathered(cls, sources: Sequence[tuple[Forward, NDArray[np.int64]]], rows: int) -> Forward:
        """New rows, each copied from a source.

        Args:
            sources: at least one; forward vectors, and for each of their rows its place among the
                new rows or -1; together they must fill 0 to `rows` - 1.
        """
        lengths = np.zeros(rows, np.int64)
        for source, destination in sources:
            kept = np.flatnonzero(destination >= 0)
            lengths[destination[kept]] = source.indptr[kept + 1] - source.indptr[kept]
        indptr = indptr_of(lengths)
        terms = np.empty(indptr[-1], sources[0][0].terms.dtype)
        weights = np.empty(indptr[-1], np.float32)
        for source, destination in sources:
            kernels.place_rows(
                source.indptr, source.terms, source.weights, destination, indptr, terms, weights
            )
        return cls(indptr, terms, weights)


def term_type(vocabulary: int) -> type[np.uint16] | type[np.uint32]:
    """Term ids take 16 bits where the vocabulary allows it."""
    return np.uint16 if vocabulary <= 2**16 else np.uint32


def indptr_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where rows of these lengths begin: int64 [n + 1]."""
    indptr = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return indptr
