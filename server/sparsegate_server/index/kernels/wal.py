"""Checksums of SQLite's write-ahead log, as its file format defines them."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from sparsegate_server.index.kernels.arrays import U32
from sparsegate_server.index.kernels.registry import helper, kernel

_FRAME_HEADER = 6
"""Words: page number, pages after commit, two salts, two checksums."""


@helper
def _swapped(word: np.uint32) -> np.uint32:
    value = np.uint32(word)
    return np.uint32(
        (value >> np.uint32(24))
        | ((value >> np.uint32(8)) & np.uint32(0xFF00))
        | ((value << np.uint32(8)) & np.uint32(0xFF0000))
        | (value << np.uint32(24))
    )


@kernel(U32, types.int64, types.uint32, types.uint32)
def scan_wal(
    words: NDArray[np.uint32], page_words: int, first: np.uint32, second: np.uint32
) -> tuple[int, int]:
    """How far a log can be followed, and what lies behind.

    Args:
        words: the file as little-endian words, its header of eight included. The checksums are of
            little-endian words; all fields are big endian.
        page_words: words of a page.
        first, second: checksum of the header, the seed of the first frame's.

    Returns:
        How many frames are sound, and how many of the frames behind them end a transaction of the
        same log.
    """
    size = _FRAME_HEADER + page_words
    frames = (len(words) - 8) // size
    sound = 0
    for frame in range(frames):
        start = 8 + frame * size
        if words[start + 2] != words[4] or words[start + 3] != words[5]:
            break
        a, b = np.uint32(first), np.uint32(second)
        for at in range(start, start + 2, 2):
            a = np.uint32(a + words[at] + b)
            b = np.uint32(b + words[at + 1] + a)
        for at in range(start + _FRAME_HEADER, start + size, 2):
            a = np.uint32(a + words[at] + b)
            b = np.uint32(b + words[at + 1] + a)
        if a != _swapped(words[start + 4]) or b != _swapped(words[start + 5]):
            break
        first, second = a, b
        sound += 1
    commits = 0
    for frame in range(sound, frames):
        start = 8 + frame * size
        same = words[start + 2] == words[4] and words[start + 3] == words[5]
        commits += same and words[start + 1] != 0
    return sound, commits
