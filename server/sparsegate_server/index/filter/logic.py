"""Logic of three values over rows: what surely holds, what may hold, and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sparsegate_server.index.filter.mask import Mask, in_at_least


@dataclass(frozen=True, slots=True)
class Bounds:
    """The rows that match lie between two sets.

    Attributes:
        lower: rows that surely match, all of them in `upper`.
        upper: rows that may match.
    """

    lower: Mask
    upper: Mask

    @classmethod
    def exactly(cls, rows: Mask) -> Bounds:
        return cls(rows, rows)

    @classmethod
    def at_most(cls, rows: Mask) -> Bounds:
        return cls(Mask.none(rows.size), rows)

    @property
    def exact(self) -> bool:
        """Whether nothing is left to be looked up in the documents."""
        return self.lower is self.upper or self.lower.count == self.upper.count

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
    upper = in_at_least(count, [each.upper for each in parts], rows)
    if all(each.exact for each in parts):
        return Bounds.exactly(upper)
    return Bounds(in_at_least(count, [each.lower for each in parts], rows), upper)
