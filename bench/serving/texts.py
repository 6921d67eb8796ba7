"""A collection in BEIR's layout, as the service's own gate reads it, and texts of mixed lengths."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from sparsegate_server.parity.texts import Beir

__all__ = ["Beir", "mixed", "unseen"]

_SHORTEST, _LONGEST = 4, 128
"""Words of texts of mixed lengths."""


def mixed(documents: Sequence[str], number: int, seed: int = 0) -> list[str]:
    """The first words of documents, 4 to 128 of them, evenly so on a logarithmic scale."""
    draw = np.random.default_rng(seed)
    lengths = np.exp(draw.uniform(np.log(_SHORTEST), np.log(_LONGEST + 1), number)).astype(int)
    rows = draw.integers(len(documents), size=number)
    pairs = zip(rows.tolist(), lengths.tolist(), strict=True)
    return [" ".join(documents[row].split()[:length]) for row, length in pairs]


def unseen(texts: Sequence[str]) -> Iterator[str]:
    """The texts over and over, no two of them the same to a cache: spaces at the end, which no
    model sees, count the turns."""
    for turn in itertools.count():
        yield from (text + " " * turn for text in texts)
