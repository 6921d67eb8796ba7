"""Payload fields of known selectivity, and the filters that are timed."""

from __future__ import annotations

import numpy as np

from sparsegate_server.filters import FieldKind, Filter, Match, Range
from sparsegate_server.types import Payload

SHARES = {"half": 0.5, "tenth": 0.1, "hundredth": 0.01, "thousandth": 0.001}
"""Of the documents that have the word in a keyword field."""

INDEXES = {
    "random": FieldKind.KEYWORD,
    "contiguous": FieldKind.KEYWORD,
    "number": FieldKind.NUMBER,
}
NESTED = "nested"
_REST = "rest"
_SEED = 3


class Payloads:
    """The payload of every document: a word dealt at random (`random`), a word that neighbours
    share (`contiguous`), and a number of its own, dealt at random (`number`)."""

    def __init__(self, documents: int) -> None:
        draw = np.random.default_rng(_SEED)
        words = _words(documents)
        self._contiguous = words
        self._random = [words[place] for place in draw.permutation(documents).tolist()]
        self._number: list[int] = draw.permutation(documents).tolist()

    def of(self, document: int) -> Payload:
        return {
            "random": self._random[document],
            "contiguous": self._contiguous[document],
            "number": self._number[document],
        }


def _words(documents: int) -> list[str]:
    words = [
        word for word, share in SHARES.items() for _ in range(max(1, round(documents * share)))
    ]
    return (words + [_REST] * documents)[:documents]


def filters(documents: int) -> dict[str, Filter]:
    """By name: each keyword field and a range at every share, and three clauses in one another."""
    made: dict[str, Filter] = {}
    for word, share in SHARES.items():
        for field in ("random", "contiguous"):
            made[f"{field} {share:.1%}"] = Filter(must=(Match(field, (word,)),))
        least = documents // 4
        most = least + max(1, round(documents * share))
        made[f"range {share:.1%}"] = Filter(must=(Range("number", gte=least, lt=most),))
    made[NESTED] = Filter(
        must=(
            Filter(should=(Match("random", ("half",)), Range("number", lt=documents // 10))),
            Filter(must_not=(Match("contiguous", ("tenth", "hundredth")),)),
            Range("number", gte=documents // 20),
        )
    )
    return made
