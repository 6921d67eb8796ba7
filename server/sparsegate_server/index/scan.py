"""Documents scored one by one by the definition, without postings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index import kernels
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.part import Candidates, Part, Query
from sparsegate_server.index.scratch import scratch_for


def scan(
    part: Part,
    forward: Forward,
    born: NDArray[np.uint64],
    dead: NDArray[np.uint64],
    query: Query,
    bar: np.float32,
    rows: NDArray[np.uint32],
) -> Candidates:
    """Those of a part's `rows` that are visible and score above `bar`."""
    scratch = scratch_for(query.vocabulary)
    scores = np.empty(len(rows), np.float32)
    found_rows = np.empty(len(rows), np.uint32)
    found, scored = kernels.scan_rows(
        query.terms,
        query.weights,
        forward.indptr,
        forward.terms,
        forward.weights,
        rows,
        born,
        dead,
        query.sequence,
        bar,
        scratch.weights,
        scratch.member,
        scores,
        found_rows,
    )
    return Candidates.of(part, scores[:found], found_rows[:found], scored)
