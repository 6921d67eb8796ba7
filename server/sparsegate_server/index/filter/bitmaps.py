"""Roaring bitmaps from and to arrays."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap


def of_numbers(numbers: NDArray[np.uint32]) -> BitMap:
    """The set of `numbers`, which may be in any order and repeat."""
    # Sorted, and as an array of the standard library, they are taken in ten times as fast.
    return BitMap(array("I", np.sort(numbers).tobytes()))


def numbers_of(bitmap: BitMap) -> NDArray[np.uint32]:
    """The members in ascending order."""
    return np.frombuffer(bitmap.to_array(), np.uint32)


def outside(numbers: NDArray[np.uint32], spans: Sequence[tuple[int, int]]) -> BitMap:
    """The set of `numbers` but those at the places of `spans`, which are apart and ascend."""
    kept = []
    begin = 0
    for start, stop in spans:
        kept.append(numbers[begin:start])
        begin = stop
    return of_numbers(np.concatenate([*kept, numbers[begin:]]))


def moved(bitmap: BitMap, destination: NDArray[np.int64]) -> BitMap:
    """The destinations of the members, without those that go nowhere (-1)."""
    targets = destination[numbers_of(bitmap)]
    return of_numbers(targets[targets >= 0].astype(np.uint32))


def packed(bitmap: BitMap) -> NDArray[np.uint8]:
    bitmap.run_optimize()
    return np.frombuffer(bitmap.serialize(), np.uint8)


def unpacked(stored: NDArray[np.uint8]) -> BitMap:
    """The bitmap that `packed` made these bytes of.

    Raises:
        ValueError: the bytes are no bitmap.
    """
    if not len(stored):
        raise ValueError("a bitmap has no bytes")
    return BitMap.deserialize(stored.tobytes())


@dataclass(frozen=True, slots=True, eq=False)
class Bitmaps:
    """Bitmaps at rest, end to end; one is read at a time.

    Attributes:
        blob: uint8, the serialised bitmaps.
        offsets: int64 [n + 1], bitmap i is `blob[offsets[i]:offsets[i + 1]]`.
    """

    blob: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, bitmaps: Sequence[BitMap]) -> Bitmaps:
        parts = [packed(each) for each in bitmaps]
        offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return cls(np.concatenate([np.empty(0, np.uint8), *parts]), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> BitMap:
        return unpacked(self.blob[self.offsets[number] : self.offsets[number + 1]])
