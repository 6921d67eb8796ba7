"""Roaring bitmaps from and to arrays."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from sparsegate_server.index import kernels

_NO_RUNS: Final = 12346
"""How a serialised bitmap begins that has no container of runs."""

_CONTAINER: Final = 1024
"""The words of a container's bits."""

_MOST_IN_ARRAY: Final = 4096
"""So many numbers of a container are written as they are; more, as bits."""


def of_numbers(numbers: NDArray[np.uint32]) -> BitMap:
    """The set of `numbers`, which may be in any order and repeat."""
    # Sorted, and as an array of the standard library, they are taken in ten times as fast.
    return BitMap(array("I", np.sort(numbers).tobytes()))


def of_words(words: NDArray[np.uint64]) -> BitMap:
    """The set of the bits of a mask: uint64, bit n % 64 of word n // 64 stands for n."""
    # Put together as it is serialised, because most of it is in the words already.
    containers = []
    for start in range(0, len(words), _CONTAINER):
        block = words[start : start + _CONTAINER]
        if count := kernels.count_bits(block):
            containers.append((start // _CONTAINER, count, _container(block, count)))
    header = struct.pack("<II", _NO_RUNS, len(containers))
    header += b"".join(struct.pack("<HH", key, count - 1) for key, count, _ in containers)
    bodies = [body for _, _, body in containers]
    first = len(header) + 4 * len(bodies)
    offsets = np.cumsum([first, *map(len, bodies)], dtype="<u4")[:-1]
    return BitMap.deserialize(b"".join([header, offsets.tobytes(), *bodies]))


def _container(block: NDArray[np.uint64], count: int) -> bytes:
    if count > _MOST_IN_ARRAY:
        return block.astype("<u8", copy=False).tobytes().ljust(8 * _CONTAINER, b"\0")
    numbers = np.empty(count, np.uint32)
    kernels.list_rows(block, numbers)
    return numbers.astype("<u2").tobytes()


def numbers_of(bitmap: BitMap) -> NDArray[np.uint32]:
    """The members in ascending order."""
    return np.frombuffer(bitmap.to_array(), np.uint32)


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
    """Bitmaps at rest, end to end; a kernel reads them where they lie.

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
