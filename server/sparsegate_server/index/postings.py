"""Postings of a segment: compact impacts by window and term, with sound upper bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index import kernels
from sparsegate_server.index.forward import Forward


@dataclass(frozen=True, slots=True, eq=False)
class Postings:
    """Impacts by window and term.

    The impact of a posting is the stored weight divided by its term's scale and rounded up, so that
    impact · scale bounds the weight from above.

    Attributes:
        window_terms: int64 [windows + 1], where each window's dictionary begins in `terms`.
        terms: uint32, term ids, ascending within a window.
        ranges: int64 [len(terms) + 1], where each term's postings begin; none if it has a column.
        local_ids: uint16, documents counted from the first of their window, ascending in a term.
        impacts: uint8, parallel to `local_ids`, from 1 to 255.
        scales: float32 [len(terms)].
        blocks: int32 [len(terms)], a term's number among those with block maxima, or -1.
        block_maxima: uint8, `BLOCKS` of them for each such term: the greatest impact in each block.
        columns: int64 [len(terms)], where the column of a heavy term begins in `dense`, or -1.
        dense: uint8, the impact of every document of a column's window, 0 where it lacks the term;
            the documents are filled up to whole blocks.
        directory: int64 [windows · buckets + 1], where in `terms` each bucket of 2^`shift` term ids
            begins, window by window: made anew, never stored.
    """

    window_terms: NDArray[np.int64]
    terms: NDArray[np.uint32]
    ranges: NDArray[np.int64]
    local_ids: NDArray[np.uint16]
    impacts: NDArray[np.uint8]
    scales: NDArray[np.float32]
    blocks: NDArray[np.int32]
    block_maxima: NDArray[np.uint8]
    columns: NDArray[np.int64]
    dense: NDArray[np.uint8]
    directory: NDArray[np.int64] = field(init=False)
    shift: np.int64 = field(init=False)

    def __post_init__(self) -> None:
        shift, directory = _directory_of(self.window_terms, self.terms)
        object.__setattr__(self, "shift", shift)
        object.__setattr__(self, "directory", directory)

    @classmethod
    def of(cls, forward: Forward, vocabulary: int) -> Postings:
        vectors = forward.indptr, forward.terms, forward.weights
        entries, sparse, blocked, dense = kernels.measure(*vectors, vocabulary)
        made: Any = (
            np.empty(-(-len(forward) // kernels.WINDOW) + 1, np.int64),
            np.empty(entries, np.uint32),
            np.empty(entries + 1, np.int64),
            np.empty(sparse, np.uint16),
            np.empty(sparse, np.uint8),
            np.empty(entries, np.float32),
            np.empty(entries, np.int32),
            np.zeros(blocked * kernels.BLOCKS, np.uint8),
            np.empty(entries, np.int64),
            np.zeros(dense, np.uint8),
        )
        kernels.invert(*vectors, vocabulary, *made)
        return cls(*made)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All that are stored, in the order above."""
        return (
            self.window_terms,
            self.terms,
            self.ranges,
            self.local_ids,
            self.impacts,
            self.scales,
            self.blocks,
            self.block_maxima,
            self.columns,
            self.dense,
        )


_IN_A_BUCKET = 8
"""Terms that a bucket of the directory has on average: they lie in one line of the cache or two."""


def _directory_of(
    window_terms: NDArray[np.int64], terms: NDArray[np.uint32]
) -> tuple[np.int64, NDArray[np.int64]]:
    """The bits that a bucket leaves out, and where each begins."""
    windows = len(window_terms) - 1
    if not len(terms):
        return np.int64(0), np.zeros(1, np.int64)
    ids = int(terms.max()) + 1
    shift = max(0, (ids * windows * _IN_A_BUCKET // len(terms)).bit_length() - 1)
    edges = np.arange(0, ids, 1 << shift)
    begins = [
        np.searchsorted(terms[first:last], edges) + first
        for first, last in pairwise(window_terms.tolist())
    ]
    return np.int64(shift), np.concatenate([*begins, window_terms[-1:]])
