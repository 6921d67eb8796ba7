"""Which way a search goes through a segment.

The thresholds are where the ways cross over in `python -m bench.micro.ways`, which times each way
for each class of queries and says how far the choice is from the best.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.kernels import MOST_TERMS, RARE, STEPWISE, WHOLE
from sparsegate_server.index.part import Query

SCAN: Final = -1
"""Documents are scored one by one by their forward vectors, without postings."""

_MANY: Final = 14
"""Where more hits are wanted, the bar is so low that it spares hardly anything."""

_FEW: Final = 1 / 350
"""So small a share of the documents is scored faster than postings are walked through for it."""

_FEW_PER_HIT: Final = 2
"""And so are so many documents for each hit, most of which would have to be scored anyway."""

_SPARSE: Final = 1 / 12
"""With a smaller share allowed, the bar is as low as if many hits were wanted."""

_RARE: Final = 1 / 30
"""With a smaller share allowed, it pays to look at each posting whether its document is."""

_DENSE: Final = 1 / 8
"""With a larger share allowed of the documents from the first to the last that is, as where a field
follows the order of ids, what lies before and behind is not even looked at."""


def way_for(query: Query, rows: int, allowed: Mask | None) -> int:
    """`SCAN`, or the way for `kernels.search_segments`.

    Args:
        rows: documents of the segment.
        allowed: those that a filter lets pass; None for all.
    """
    if len(query.terms) > MOST_TERMS or (allowed is not None and not allowed.count):
        return SCAN
    whole = WHOLE if query.limit > _MANY or query.effort < 1 else STEPWISE
    if allowed is None or allowed.count > rows * _SPARSE:
        return whole
    strides = np.flatnonzero(allowed.words)
    if allowed.count > _DENSE * 64 * (strides[-1] - strides[0] + 1) and whole == STEPWISE:
        return STEPWISE
    if allowed.count <= max(rows * _FEW, query.limit * _FEW_PER_HIT):
        return SCAN
    return RARE if allowed.count <= rows * _RARE else WHOLE
