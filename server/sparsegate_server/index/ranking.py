"""From the candidates of all parts to one ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index import ids
from sparsegate_server.index.part import Candidates, Part
from sparsegate_server.index.segment import Segment
from sparsegate_server.index.view import Place
from sparsegate_server.types import DocumentId

_FEW_OF_EACH = 8
"""Ids are read one by one if there are at most so many for each part."""


# Not frozen: one is made for every search, and freezing takes half a microsecond.
@dataclass(slots=True, eq=False)
class Ranking:
    """Documents of several parts, best first.

    Attributes:
        parts: that they come from.
        scores: float32 [n].
        owners: int64 [n], numbers of parts.
        rows: uint32 [n].
    """

    parts: Sequence[Part]
    scores: NDArray[np.float32]
    owners: NDArray[np.int64]
    rows: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.scores)

    def after(self, offset: int) -> Ranking:
        """Without the first `offset`."""
        if not offset:
            return self
        kept = slice(offset, None)
        return Ranking(self.parts, self.scores[kept], self.owners[kept], self.rows[kept])

    def places(self) -> list[Place]:
        owners = self.owners.tolist()
        return [
            (self.parts[owner], row) for owner, row in zip(owners, self.rows.tolist(), strict=True)
        ]

    def ids(self) -> list[DocumentId]:
        if len(self.parts) == 1:
            return self.parts[0].ids(self.rows)
        if len(self) <= _FEW_OF_EACH * len(self.parts):
            return [ids.decode(part.key(row)) for part, row in self.places()]
        found: list[DocumentId] = [0] * len(self)
        for owner in np.unique(self.owners).tolist():
            places = np.flatnonzero(self.owners == owner)
            own = self.parts[owner].ids(self.rows[places])
            for place, each in zip(places.tolist(), own, strict=True):
                found[place] = each
        return found


_NOTHING = Ranking((), np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.uint32))

_MORE = 64
"""With so many more candidates than are wanted, some are left out before the rest is sorted; and so
few are sorted in the simplest way."""


def best(candidates: Sequence[Candidates], limit: int) -> Ranking:
    """The `limit` best: by descending score, equal scores by ascending key."""
    if not candidates:
        return _NOTHING
    if len(candidates) == 1:
        parts, owners = candidates[0].parts, candidates[0].owners
        scores, rows = candidates[0].scores, candidates[0].rows
    else:
        parts = [part for each in candidates for part in each.parts]
        scores = np.concatenate([each.scores for each in candidates])
        rows = np.concatenate([each.rows for each in candidates])
        before = accumulate([len(each.parts) for each in candidates], initial=0)
        owners = np.concatenate(
            [each.owners + first for each, first in zip(candidates, before, strict=False)]
        )
    if len(scores) > limit + _MORE:
        # Everything that ties with the last place is still in the race for it.
        last = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        kept = np.flatnonzero(scores >= last)
        scores, rows, owners = scores[kept], rows[kept], owners[kept]
    if len(parts) == 1 and len(scores) <= _MORE and isinstance(parts[0], Segment):
        # Its rows are in the order of keys; more of them are faster sorted by their scores alone.
        order = np.lexsort((rows, -scores))[:limit]
        return Ranking(parts, scores[order], owners[order], rows[order])
    order = np.argsort(-scores)
    scores = scores[order]
    for start, stop in _runs(scores):
        run = order[start:stop].tolist()
        run.sort(key=lambda at: parts[int(owners[at])].key(int(rows[at])))
        order[start:stop] = run
    order = order[:limit]
    return Ranking(parts, scores[:limit], owners[order], rows[order])


def _runs(scores: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Where two or more equal scores stand side by side."""
    same = scores[1:] == scores[:-1]
    if not same.any():
        return []
    bounds = [0, *(np.flatnonzero(~same) + 1).tolist(), len(scores)]
    return [(start, stop) for start, stop in pairwise(bounds) if stop - start > 1]
