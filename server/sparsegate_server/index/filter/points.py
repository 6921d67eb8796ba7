"""Numbers and times and the rows that hold them, in sorted order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.filters import Range, TimeRange
from sparsegate_server.index import kernels
from sparsegate_server.index.filter.buckets import Buckets
from sparsegate_server.index.filter.held import Held, holding_others
from sparsegate_server.index.filter.mask import Mask, blank
from sparsegate_server.index.filter.stored import Arrays, require_length, required

Point: TypeAlias = tuple[float, int] | tuple[int]
"""A number as the nearest float64 and what it lacks, or a time in microseconds; in either case
points order as what they stand for."""

_FAR: Final = 2**15 - 1
_FAR_TIME: Final = 2**62
_FEW: Final = 64
"""Points are taken one by one if there is at most one for so many rows."""


def number_point(number: int | float) -> Point:
    """A number, but NaN, as a point: integers of 64 bits and floats order exactly.

    The rest of a 64-bit integer is within ±1024. A larger integer, which only a query can have,
    keeps its place between all of those.
    """
    if isinstance(number, float):
        return (number + 0.0, 0)  # -0.0 becomes 0.0
    try:
        nearest = float(number)
    except OverflowError:
        return (float("inf"), -_FAR) if number > 0 else (float("-inf"), _FAR)
    return (nearest, max(-_FAR, min(number - int(nearest), _FAR)))


def time_point(microseconds: int) -> Point:
    """A time as a point; the years of dates are far within the limits."""
    return (max(-_FAR_TIME, min(microseconds, _FAR_TIME)),)


@dataclass(slots=True, eq=False)
class Points:
    """Pairs of a point and a row, ascending and distinct. Nothing changes once it is made.

    Attributes:
        size: how many rows there are, those without a point included.
        parts: the points, one array for each part of theirs: float64 and int16 for numbers, int64
            for times.
        rows: uint32, parallel.
    """

    size: int
    parts: tuple[NDArray[Any], ...]
    rows: NDArray[np.uint32]
    # Found out when they are first asked for; who does so at the same time finds out the same.
    _held: Held | None = field(default=None, init=False)
    _buckets: Buckets | None = field(default=None, init=False)

    @classmethod
    def of(cls, parts: Sequence[NDArray[Any]], rows: NDArray[np.uint32], size: int) -> Points:
        """From pairs in any order, repeated or not."""
        order = np.lexsort((rows, *reversed(parts)))
        columns = [each[order] for each in (*parts, rows)]
        fresh = np.ones(len(order), np.bool_)
        fresh[1:] = np.any([each[1:] != each[:-1] for each in columns], axis=0)
        *sorted_parts, sorted_rows = (each[fresh] for each in columns)
        return cls(size, tuple(sorted_parts), sorted_rows)

    @classmethod
    def merged(
        cls, several: Sequence[Points], destinations: Sequence[NDArray[np.int64]], size: int
    ) -> Points:
        """The points of several, their rows moved to `destinations`, -1 left out."""
        moved = [target[each.rows] for each, target in zip(several, destinations, strict=True)]
        rows = np.concatenate(moved)
        kept = rows >= 0
        columns = zip(*(each.parts for each in several), strict=True)
        parts = [np.concatenate(column)[kept] for column in columns]
        return cls.of(parts, rows[kept].astype(np.uint32), size)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All but the size, as named one-dimensional arrays."""
        named = {f"part{number}": part for number, part in enumerate(self.parts)}
        return {**named, "rows": self.rows}

    @classmethod
    def from_arrays(cls, dtypes: Sequence[type[np.generic]], arrays: Arrays, size: int) -> Points:
        """The inverse of `arrays`; nothing is copied.

        Raises:
            ValueError: the arrays are not those of `arrays()` or do not fit together.
        """
        rows = required(arrays, "rows", np.uint32)
        names = [f"part{number}" for number in range(len(dtypes))]
        parts = [required(arrays, *each) for each in zip(names, dtypes, strict=True)]
        for name, part in zip(names, parts, strict=True):
            require_length(name, part, len(rows))
        return cls(size, tuple(parts), rows)

    def within(self, bounds: Range | TimeRange, point: Callable[[Any], Point]) -> Mask:
        """The rows that hold a point within bounds, which `point` makes points of.

        Raises:
            ValueError: what is stored leads beyond the rows, here and in the other methods.
        """
        low, high = 0, len(self.rows)
        if bounds.gt is not None:
            low = self._place(point(bounds.gt), after=True)
        if bounds.gte is not None:
            low = max(low, self._place(point(bounds.gte), after=False))
        if bounds.lt is not None:
            high = self._place(point(bounds.lt), after=False)
        if bounds.lte is not None:
            high = min(high, self._place(point(bounds.lte), after=True))
        return self._in_spans([(low, high)])

    def with_any(self, points: Iterable[Point]) -> Mask:
        """The rows that hold one of `points`."""
        return self._in_spans([self._span(point) for point in points])

    def with_others(self, points: Iterable[Point]) -> Mask:
        """The rows that hold a point which is none of `points`."""
        if self._held is None:
            self._held = Held.of(self.rows, self.size)
        spans = [self._span(point) for point in sorted(set(points))]
        return holding_others(self._held, self.rows, spans, self._in_spans(spans))

    def _in_spans(self, spans: Sequence[tuple[int, int]]) -> Mask:
        """The rows of the points at these places."""
        words = blank(self.size)
        count = 0
        for low, high in spans:
            if low < high and count >= 0:
                count = self._add(low, high, words)
        return Mask.filled(words, count, self.size)

    def _add(self, low: int, high: int, words: NDArray[np.uint64]) -> int:
        """Adds the rows of the points `low..high`; says how many there are now, -1 if one leads
        beyond the rows."""
        if high - low <= self.size // _FEW:
            return kernels.add_rows(self.rows[low:high], self.size, words)
        if self._buckets is None:
            self._buckets = Buckets.of(self.rows, self.size)
        return self._buckets.add(low, high, words)

    def _span(self, point: Point) -> tuple[int, int]:
        """The places of `point`, or twice the place where it would be."""
        return self._place(point, after=False), self._place(point, after=True)

    def _place(self, point: Point, *, after: bool) -> int:
        """The first place that is not before `point`, or with `after` is behind it."""
        place: Callable[..., int] = kernels.number_place if len(point) == 2 else kernels.time_place
        return place(*self.parts, *point, after)
