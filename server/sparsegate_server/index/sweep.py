"""Segments searched together: for a small one, calling a kernel costs as much as its work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from sparsegate_server.index import kernels
from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.forward import Forward
from sparsegate_server.index.leaders import Leaders
from sparsegate_server.index.part import Candidates, Part, Query
from sparsegate_server.index.scratch import scratch_for

_search_segments: Any = kernels.search_segments


class Sweepable(Part, Protocol):
    """A part that a kernel finds by numbers."""

    @property
    def address(self) -> int:
        """Of its row, see `kernels.segment_row`."""
        ...

    @property
    def forward(self) -> Forward: ...


def sweep(
    segments: Sequence[Sweepable],
    ways: Sequence[int],
    masks: Sequence[Mask | None],
    query: Query,
    leaders: Leaders,
) -> Candidates:
    """`Part.search` of each of at least one segment, by one of the kernel's ways, in turn."""
    limit = len(leaders.scores)
    sizes = [each.rows for each in segments]
    room = sum([min(limit, size) for size in sizes])
    plan: list[int] = []
    for segment, mask, way in zip(segments, masks, ways, strict=True):
        plan += segment.address, 0 if mask is None else mask.address, way
    scores = np.empty(room, np.float32)
    owners = np.empty(room, np.int64)
    rows = np.empty(room, np.uint32)
    found, leaders.filled, leaders.bar, scored, skipped, missed = _search_segments(
        np.array(plan, np.int64),
        segments[0].forward.terms,
        query.terms,
        query.weights,
        query.sequence,
        query.effort,
        leaders.bar,
        *scratch_for(query.vocabulary, max(sizes)),
        leaders.scores,
        leaders.rows,
        leaders.filled,
        scores,
        owners,
        rows,
    )
    return Candidates(
        segments, scores[:found], owners[:found], rows[:found], scored, skipped, missed
    )
