"""Sets of rows of one segment, as searches want them: a bit for each row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from sparsegate_server.index import kernels
from sparsegate_server.index.filter.bitmaps import numbers_of, of_words
from sparsegate_server.index.kernels.arrays import address_of

_NO_WORDS: NDArray[np.uint64] = np.empty(0, np.uint64)


@dataclass(slots=True, eq=False)
class Mask:
    """Some of `size` rows. Masks are shared: never change one in place.

    Attributes:
        size: how many rows there are; all in the mask are below it.
        words: uint64 [ceil(size / 64)], C-contiguous; bit r % 64 of word r // 64 is set if row r is
            in the mask. Bits from `size` on are zero.
        count: how many rows are in the mask.
    """

    size: int
    words: NDArray[np.uint64]
    count: int

    @property
    def address(self) -> int:
        """Of the words, for a kernel."""
        return address_of(self.words)

    @classmethod
    def none(cls, size: int) -> Mask:
        return cls(size, blank(size), 0)

    @classmethod
    def every(cls, size: int) -> Mask:
        words = np.full(size + 63 >> 6, 2**64 - 1, np.uint64)
        if size & 63:
            words[-1] = (1 << (size & 63)) - 1
        return cls(size, words, size)

    @classmethod
    def of(cls, rows: Iterable[int] | NDArray[Any], size: int) -> Mask:
        """The mask of `rows`, in any order, repeated or not.

        Raises:
            ValueError: a row that is not below `size`.
        """
        numbers = rows if isinstance(rows, np.ndarray) else np.fromiter(rows, np.uint32)
        words = blank(size)
        return cls.filled(
            words, kernels.add_rows(numbers.astype(np.uint32, copy=False), size, words), size
        )

    @classmethod
    def filled(cls, words: NDArray[np.uint64], count: int, size: int) -> Mask:
        """The mask that a kernel has made.

        Args:
            count: what the kernel returned.

        Raises:
            ValueError: `count` is -1, because what is stored leads beyond the rows.
        """
        if count < 0:
            raise leading_beyond(size)
        return cls(size, words, count)

    @classmethod
    def of_bitmap(cls, bitmap: BitMap, size: int) -> Mask:
        """Raises:
        ValueError: a row that is not below `size`.
        """
        return cls.of(numbers_of(bitmap), size) if bitmap else cls.none(size)

    def bitmap(self) -> BitMap:
        return BitMap(range(self.size)) if self.count == self.size else of_words(self.words)

    def rows(self) -> NDArray[np.uint32]:
        """The rows in ascending order: uint32 [count]."""
        found = np.empty(self.count, np.uint32)
        kernels.list_rows(self.words, found)
        return found

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows().tolist())

    def __and__(self, other: Mask) -> Mask:
        if self.count == self.size or not other.count:
            return other
        if other.count == other.size or not self.count:
            return self
        words = np.empty_like(self.words)
        return Mask(self.size, words, kernels.both(self.words, other.words, words))

    def __or__(self, other: Mask) -> Mask:
        if other.count == other.size or not self.count:
            return other
        if self.count == self.size or not other.count:
            return self
        words = np.empty_like(self.words)
        return Mask(self.size, words, kernels.either(self.words, other.words, words))

    def __sub__(self, other: Mask) -> Mask:
        """The rows of this that are not in the other."""
        if not self.count or not other.count:
            return self
        words = np.empty_like(self.words)
        return Mask(self.size, words, kernels.without(self.words, other.words, words))

    def __invert__(self) -> Mask:
        return Mask.every(self.size) - self


def words_of(mask: Mask | None) -> NDArray[np.uint64]:
    """A mask's words; none, which a kernel takes for every row, where there is no mask."""
    return _NO_WORDS if mask is None else mask.words


def blank(size: int) -> NDArray[np.uint64]:
    """Words of a mask without a row, for a kernel to fill."""
    return np.zeros(size + 63 >> 6, np.uint64)


def leading_beyond(size: int) -> ValueError:
    return ValueError(f"a payload index is damaged: it leads beyond its {size} rows")
