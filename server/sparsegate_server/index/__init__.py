"""The embedded engine: a sharded inverted index that knows neither text nor models."""

from sparsegate_server.index.collection import Collection
from sparsegate_server.index.kernels import warm_up
from sparsegate_server.index.values import (
    Entry,
    Fetched,
    Match,
    Ranking,
    Record,
    Size,
    Slice,
    Written,
)

__all__ = [
    "Collection",
    "Entry",
    "Fetched",
    "Match",
    "Ranking",
    "Record",
    "Size",
    "Slice",
    "Written",
    "warm_up",
]
