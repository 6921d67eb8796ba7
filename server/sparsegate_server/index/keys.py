"""Encoded ids of a segment, sorted, end to end in one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.index import kernels
from sparsegate_server.index.forward import indptr_of


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """A list of byte strings without a Python object for each.

    Attributes:
        blob: uint8, all keys end to end.
        offsets: int64 [n + 1], key i is `blob[offsets[i]:offsets[i + 1]]`.
    """

    blob: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, keys: Sequence[bytes]) -> Keys:
        lengths = np.fromiter(map(len, keys), np.int64, len(keys))
        return cls(np.frombuffer(b"".join(keys), np.uint8), indptr_of(lengths))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> bytes:
        return self.blob[self.offsets[row] : self.offsets[row + 1]].tobytes()

    def find(self, wanted: Keys) -> NDArray[np.int64]:
        """The row of every wanted key, or -1. The keys must be sorted."""
        return kernels.find_keys(self.blob, self.offsets, wanted.blob, wanted.offsets)

    def first_after(self, key: bytes) -> int:
        """The first row whose key comes after `key`. The keys must be sorted."""
        # Nothing lies between a byte string and the same string with a zero byte added.
        successor = Keys.of([key + b"\0"])
        return int(
            kernels.lower_bounds(self.blob, self.offsets, successor.blob, successor.offsets)[0]
        )

    def take(self, rows: NDArray[np.int64]) -> Keys:
        """The keys of `rows`, in that order."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        offsets = indptr_of(lengths)
        places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return Keys(self.blob[places], offsets)

    @classmethod
    def concatenated(cls, parts: Sequence[Keys]) -> Keys:
        ends = np.cumsum([0, *(part.offsets[-1] for part in parts)])
        moved = [part.offsets[:-1] + end for part, end in zip(parts, ends[:-1], strict=True)]
        return cls(
            np.concatenate([part.blob for part in parts]),
            np.concatenate([*moved, ends[-1:]], dtype=np.int64),
        )
