"""Filters: their meaning on one document, and payload indexes that answer for many at once."""

from sparsegate_server.index.filter.check import check
from sparsegate_server.index.filter.column import Column
from sparsegate_server.index.filter.evaluate import Bounds, bounds
from sparsegate_server.index.filter.match import dropped_by, matches
from sparsegate_server.index.filter.paths import canonical, resolve

__all__ = [
    "Bounds",
    "Column",
    "bounds",
    "canonical",
    "check",
    "dropped_by",
    "matches",
    "resolve",
]
