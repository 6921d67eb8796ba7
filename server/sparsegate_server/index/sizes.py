"""How large a reply would be, from what the index knows of documents without reading them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.errors import ReplyTooLarge
from sparsegate_server.index.part import Part
from sparsegate_server.index.view import Place
from sparsegate_server.operations import Selection

_DOCUMENT_BYTES: Final = 32
"""For a score, and what stands around the parts of a document."""

_WEIGHT_BYTES: Final = 9
"""A term id and a float32 as protobuf writes them, rounded up."""


def estimated(places: Sequence[Place], select: Selection) -> NDArray[np.int64]:
    """Bytes of each document in a reply: int64 [n]. A payload counts as a whole, even where only
    some of its fields are selected."""
    by_part: defaultdict[Part, list[int]] = defaultdict(list)
    for number, (part, _) in enumerate(places):
        by_part[part].append(number)
    sizes = np.full(len(places), _DOCUMENT_BYTES, np.int64)
    for part, numbers in by_part.items():
        rows = np.array([places[number][1] for number in numbers], np.int64)
        own = part.sizes(rows, select.terms)
        sizes[numbers] += own.ids + own.texts * select.text + own.payloads * select.payload
        sizes[numbers] += own.vectors * _WEIGHT_BYTES * select.vector
    return sizes


def check(
    places: Sequence[Place], select: Selection, most: int, *, field: str, advice: str
) -> None:
    """Refuses a reply before anything is read for it.

    Args:
        most: bytes allowed; 0 allows any.
        field: of the request, that asks for so much.
        advice: how to ask for less.

    Raises:
        ReplyTooLarge: it would be larger.
    """
    if not most or not select:
        return
    size = int(estimated(places, select).sum())
    if size > most:
        raise ReplyTooLarge(
            f"the reply would have about {size} bytes, more than the {most} allowed: {advice}, or"
            " select fewer parts of the documents",
            field=field,
        )


def fitting(places: Sequence[Place], select: Selection, most: int) -> int:
    """How many of the first places fit into a reply: all if `most` is 0, and at least one."""
    if not most or not select or not places:
        return len(places)
    ends = np.cumsum(estimated(places, select))
    return max(1, int(np.searchsorted(ends, most, side="right")))
