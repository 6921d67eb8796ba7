"""Postings of a segment: compact impacts by window and term, with sound upper bounds."""

from __future__ import annotations

from dataclasses import dataclass

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
        ranges: int64 [len(terms) + 1], where each term's postings begin.
        local_ids: uint16, documents counted from the first of their window, ascending in a term.
        impacts: uint8, parallel to `local_ids`, from 1 to 255.
        scales: float32 [len(terms)].
        blocks: int32 [len(terms)], a term's number among those with block maxima, or -1.
        block_maxima: uint8, `BLOCKS` of them for each such term: the greatest impact in each block.
    """

    window_terms: NDArray[np.int64]
    terms: NDArray[np.uint32]
    ranges: NDArray[np.int64]
    local_ids: NDArray[np.uint16]
    impacts: NDArray[np.uint8]
    scales: NDArray[np.float32]
    blocks: NDArray[np.int32]
    block_maxima: NDArray[np.uint8]

    @classmethod
    def of(cls, forward: Forward, vocabulary: int) -> Postings:
        return cls(*kernels.invert(forward.indptr, forward.terms, forward.weights, vocabulary))
