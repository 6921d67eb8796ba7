"""Compiled inner loops: one algorithm a file, plain arrays in and out, no GIL, no Python object.

Importing this package declares every kernel, so that `warm_up` finds them all.
"""

from sparsegate_server.index.kernels.frequencies import document_frequencies
from sparsegate_server.index.kernels.keys import find_keys, lower_bounds, merge_order
from sparsegate_server.index.kernels.postings import invert
from sparsegate_server.index.kernels.registry import warm_up
from sparsegate_server.index.kernels.rows import (
    BAD_WEIGHT,
    UNKNOWN_TERM,
    UNSORTED,
    check_rows,
    place_rows,
    visible_rows,
)
from sparsegate_server.index.kernels.score import scan_rows
from sparsegate_server.index.kernels.segment_search import search_segment
from sparsegate_server.index.kernels.wal import scan_wal
from sparsegate_server.index.kernels.windows import BLOCKS, WINDOW

__all__ = [
    "BAD_WEIGHT",
    "BLOCKS",
    "UNKNOWN_TERM",
    "UNSORTED",
    "WINDOW",
    "check_rows",
    "document_frequencies",
    "find_keys",
    "invert",
    "lower_bounds",
    "merge_order",
    "place_rows",
    "scan_rows",
    "scan_wal",
    "search_segment",
    "visible_rows",
    "warm_up",
]
