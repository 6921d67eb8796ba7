"""A first cut while there is no bar: high, so that few documents are scored before there is one,
and not sound, so that the rest must be looked at again once there is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index.kernels.bits import population
from sparsegate_server.index.kernels.lanes import LANES, lanes_reaching
from sparsegate_server.index.kernels.race import passing
from sparsegate_server.index.kernels.registry import helper

_SAMPLE = 256
"""Strides that are looked at."""

_HIGHEST, _FINEST = 15, 4
"""Bits of a sum that the cut is made of; the rest would only sharpen a guess."""


@helper
def optimistic_cut(
    sums: NDArray[np.uint16], documents: int, allowed: NDArray[np.uint64], wanted: int
) -> int:
    """About `wanted` sums of documents that are allowed, or some more, reach it; at least 1.

    In a sample of the strides so many do as the whole lets expect, and twice the standard
    deviation of that more.
    """
    step = max(1, documents // (LANES * _SAMPLE))
    expected = wanted / step
    enough = int(np.ceil(expected + (2.0 * np.sqrt(expected) if step > 1 else 0.0)))
    cut = 0
    for bit in range(_HIGHEST, _FINEST - 1, -1):
        if _sampled(sums, documents, allowed, cut | (1 << bit), step, enough) >= enough:
            cut |= 1 << bit
    return max(cut, 1)


@helper
def _sampled(
    sums: NDArray[np.uint16],
    documents: int,
    allowed: NDArray[np.uint64],
    low: int,
    step: int,
    enough: int,
) -> int:
    """How many sums of every `step`-th stride are at least `low`; may stop at `enough`."""
    count = 0
    for first in range(0, documents, LANES * step):
        reaching = lanes_reaching(sums, first, np.uint16(low))
        count += population(reaching & passing(allowed, first))
        if count >= enough:
            break
    return count
