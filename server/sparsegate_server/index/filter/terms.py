"""Strings and the rows that hold them: a sorted dictionary with postings."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index import kernels
from sparsegate_server.index.filter.bitmaps import Bitmaps, of_numbers
from sparsegate_server.index.filter.held import Held
from sparsegate_server.index.filter.mask import Mask
from sparsegate_server.index.filter.program import (
    NONE,
    Adding,
    Program,
    adding_bitmap,
    adding_mask,
    adding_rows,
    both,
    run,
)
from sparsegate_server.index.filter.stored import Arrays, require_length, require_offsets, required
from sparsegate_server.index.kernels.arrays import address_of
from sparsegate_server.index.keys import Keys

HEAVY: Final = 1024
"""A term of so many rows has a bitmap as well, which is read faster than its postings."""

_FEW: Final = 256
"""Of so few terms, all are kept in a dictionary of Python's, which is the faster one."""

_COMMON: Final = 64
_MOST_MASKS: Final = 8
"""Of those, up to so many that one of `_COMMON` rows holds have their masks kept: a byte a row."""


@dataclass(slots=True, eq=False)
class Terms:
    """Distinct terms in byte order, each with its rows. Nothing changes once it is made.

    Attributes:
        size: how many rows there are, those without a term included.
        keys: the terms in UTF-8.
        starts: int64 [terms + 1], term i has `rows[starts[i]:starts[i + 1]]`.
        rows: uint32, strictly ascending in each term.
        heavy: int64, the numbers of the terms that have a bitmap, ascending.
        bitmaps: parallel to `heavy`.
    """

    size: int
    keys: Keys
    starts: NDArray[np.int64]
    rows: NDArray[np.uint32]
    heavy: NDArray[np.int64]
    bitmaps: Bitmaps
    # Found out when they are first asked for; who does so at the same time finds out the same.
    _held: Held | None = field(default=None, init=False)
    _known: Mapping[object, Adding] | None = field(default=None, init=False)
    _masks: list[Mask] = field(default_factory=list, init=False)
    _places: tuple[int, int] | None = field(default=None, init=False)

    @classmethod
    def of(cls, keys: Keys, numbers: NDArray[Any], rows: NDArray[Any], size: int) -> Terms:
        """Terms from pairs of a key's number and a row, in any order, repeated or not.

        Args:
            keys: sorted and distinct; those without a pair are left out.
            numbers, rows: integers of at most 32 bits, parallel.
        """
        pairs = numbers.astype(np.uint64) << np.uint64(32) | rows.astype(np.uint64)
        pairs.sort()
        pairs = pairs[np.diff(pairs, prepend=~pairs[:1]) != 0]
        numbers = (pairs >> np.uint64(32)).astype(np.int64)
        rows = pairs.astype(np.uint32)
        heads = np.flatnonzero(np.diff(numbers, prepend=-1))
        starts = np.append(heads, len(rows)).astype(np.int64)
        heavy = np.flatnonzero(np.diff(starts) >= HEAVY)
        bitmaps = Bitmaps.of([of_numbers(rows[starts[n] : starts[n + 1]]) for n in heavy.tolist()])
        return cls(size, keys.take(numbers[heads]), starts, rows, heavy, bitmaps)

    @classmethod
    def merged(
        cls, parts: Sequence[Terms], destinations: Sequence[NDArray[np.int64]], size: int
    ) -> Terms:
        """The terms of several parts, their rows moved to `destinations`, -1 left out."""
        keys, numbers = _united([part.keys for part in parts])
        moved = [target[part.rows] for part, target in zip(parts, destinations, strict=True)]
        spread = [
            np.repeat(own, np.diff(part.starts)) for part, own in zip(parts, numbers, strict=True)
        ]
        rows = np.concatenate(moved)
        kept = rows >= 0
        return cls.of(keys, np.concatenate(spread)[kept], rows[kept], size)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All but the size, as named one-dimensional arrays."""
        return {
            "terms": self.keys.blob,
            "term_offsets": self.keys.offsets,
            "starts": self.starts,
            "rows": self.rows,
            "heavy": self.heavy,
            "bitmaps": self.bitmaps.blob,
            "bitmap_offsets": self.bitmaps.offsets,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, size: int) -> Terms:
        """The inverse of `arrays`; nothing is copied.

        Raises:
            ValueError: the arrays are not those of `arrays()` or do not fit together.
        """
        blob = required(arrays, "terms", np.uint8)
        offsets = required(arrays, "term_offsets", np.int64)
        starts = required(arrays, "starts", np.int64)
        rows = required(arrays, "rows", np.uint32)
        heavy = required(arrays, "heavy", np.int64)
        packed = required(arrays, "bitmaps", np.uint8)
        packed_offsets = required(arrays, "bitmap_offsets", np.int64)
        require_offsets("term_offsets", offsets, len(blob))
        require_length("starts", starts, len(offsets))
        require_offsets("starts", starts, len(rows))
        require_offsets("bitmap_offsets", packed_offsets, len(packed))
        require_length("bitmap_offsets", packed_offsets, len(heavy) + 1)
        if (np.diff(heavy, prepend=-1, append=len(starts) - 1) <= 0).any():
            raise ValueError(f"array heavy does not name some of {len(starts) - 1} terms in order")
        return cls(size, Keys(blob, offsets), starts, rows, heavy, Bitmaps(packed, packed_offsets))

    def known(self, terms: Iterable[object]) -> Program | None:
        """As `with_any`, or None if one of `terms` is not here, is no string, or there are too
        many to tell at once."""
        if self._known is None:
            self._known = self._learned()
        try:
            return NONE + b"".join(map(self._known.__getitem__, terms))
        except KeyError:
            return None

    def with_any(self, terms: Iterable[str]) -> Program:
        """The rows that hold one of `terms`."""
        return NONE + b"".join(self._found(terms))

    def with_all(self, terms: Collection[str]) -> Program:
        """The rows that hold every one of `terms`, distinct ones, of which there must be one."""
        found = self._found(terms)
        return both(NONE + each for each in found) if len(found) == len(terms) else NONE

    def with_others(self, terms: Iterable[str]) -> Program:
        """The rows that hold a term which is none of `terms`.

        Raises:
            ValueError: what is stored leads beyond the rows.
        """
        if self._held is None:
            self._held = Held.of(self.rows, self.size)
        numbers = self._numbers(terms)
        spans = [(int(self.starts[each]), int(self.starts[each + 1])) for each in numbers]
        barred = b"".join([NONE, *map(self._adding, numbers)])
        return self._held.with_others(spans, barred)

    def _found(self, terms: Iterable[str]) -> list[Adding]:
        """For each of those terms that are here, what adds its rows."""
        return [self._adding(number) for number in self._numbers(terms)]

    def _learned(self) -> dict[object, Adding]:
        """What adds the rows of each term; nothing if there are many."""
        if len(self.keys) > _FEW:
            return {}
        names = (self.keys[number] for number in range(len(self.keys)))
        known: dict[object, Adding] = {
            decoded(name): self._adding(number) for number, name in enumerate(names)
        }
        lengths = np.diff(self.starts)
        largest = np.argsort(-lengths)[:_MOST_MASKS]
        for number in largest[lengths[largest] * _COMMON >= self.size].tolist():
            mask = run(NONE + self._adding(number), self.size)
            self._masks.append(mask)
            known[decoded(self.keys[number])] = adding_mask(mask)
        return known

    def _numbers(self, terms: Iterable[str]) -> list[int]:
        """The numbers of those terms that are here, ascending."""
        wanted = sorted({encoded(term) for term in terms})
        # As `Keys.of` does, but it is made for many keys, and here there is one as a rule.
        blob = np.frombuffer(b"".join(wanted), np.uint8)
        offsets = np.array([0, *accumulate(map(len, wanted))], np.int64)
        found = kernels.find_keys(self.keys.blob, self.keys.offsets, blob, offsets)
        return [number for number in found.tolist() if number >= 0]

    def _adding(self, number: int) -> Adding:
        """What adds the rows of a term."""
        if self._places is None:
            self._places = address_of(self.rows), address_of(self.bitmaps.blob)
        rows, blob = self._places
        start, stop = int(self.starts[number]), int(self.starts[number + 1])
        place = bisect_left(self.heavy, number)
        if place < len(self.heavy) and self.heavy[place] == number:
            begin, end = map(int, self.bitmaps.offsets[place : place + 2])
            return adding_bitmap(blob + begin, end - begin)
        return adding_rows(rows + 4 * start, stop - start)


def encoded(term: str) -> bytes:
    # A lone surrogate cannot come over the wire; if one ever did, it must not stop an index.
    return term.encode(errors="surrogatepass")


def decoded(name: bytes) -> str:
    return name.decode(errors="surrogatepass")


def _united(parts: Sequence[Keys]) -> tuple[Keys, list[NDArray[np.int64]]]:
    """The distinct keys of all parts in order, and for each part its keys' numbers there."""
    keys = Keys.concatenated(parts)
    runs = np.cumsum([0, *map(len, parts)])
    order = kernels.merge_order(keys.blob, keys.offsets, runs)
    ordered = keys.take(order)
    # Equal keys lie side by side: the first is the one that a search for it comes upon.
    places = kernels.lower_bounds(ordered.blob, ordered.offsets, ordered.blob, ordered.offsets)
    first = places == np.arange(len(places))
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(first) - 1
    return ordered.take(np.flatnonzero(first)), np.split(numbers, runs[1:-1])
