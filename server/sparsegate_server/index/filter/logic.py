"""Logic of three values over rows: what surely holds, what may hold, and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pyroaring import BitMap

from sparsegate_server.index.filter.bitmaps import numbers_of, of_numbers


@dataclass(frozen=True, slots=True)
class Bounds:
    """The rows that match lie between two sets. Bitmaps are shared: never change one in place.

    Attributes:
        lower: rows that surely match, all of them in `upper`.
        upper: rows that may match.
    """

    lower: BitMap
    upper: BitMap

    @classmethod
    def exactly(cls, rows: BitMap) -> Bounds:
        return cls(rows, rows)

    @classmethod
    def at_most(cls, rows: BitMap) -> Bounds:
        return cls(BitMap(), rows)

    @property
    def exact(self) -> bool:
        """Whether nothing is left to be looked up in the documents."""
        return self.lower is self.upper or len(self.lower) == len(self.upper)

    def __and__(self, other: Bounds) -> Bounds:
        if self.exact and other.exact:
            return Bounds.exactly(self.upper & other.upper)
        return Bounds(self.lower & other.lower, self.upper & other.upper)

    def __or__(self, other: Bounds) -> Bounds:
        if self.exact and other.exact:
            return Bounds.exactly(self.upper | other.upper)
        return Bounds(self.lower | other.lower, self.upper | other.upper)

    def __sub__(self, other: Bounds) -> Bounds:
        """The rows of this that do not match the other: what may match may not be kept."""
        if self.exact and other.exact:
            return Bounds.exactly(self.upper - other.upper)
        return Bounds(self.lower - other.upper, self.upper - other.lower)


def at_least(count: int, parts: Sequence[Bounds], rows: int) -> Bounds:
    """The rows, below `rows`, that match at least `count` of the parts."""
    upper = _in_at_least(count, [each.upper for each in parts], rows)
    if all(each.exact for each in parts):
        return Bounds.exactly(upper)
    return Bounds(_in_at_least(count, [each.lower for each in parts], rows), upper)


def _in_at_least(count: int, parts: Sequence[BitMap], rows: int) -> BitMap:
    held = np.zeros(rows, np.uint32)
    for each in parts:
        held[numbers_of(each)] += 1
    return of_numbers(np.flatnonzero(held >= count).astype(np.uint32))
