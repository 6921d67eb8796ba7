"""Compiled inner loops: one algorithm a file, plain arrays in and out, no GIL, no Python object.

Importing this package declares every kernel, so that `warm_up` finds them all.
"""

from sparsegate_server.index.kernels.dot import dot
from sparsegate_server.index.kernels.forward_scan import scan_forward
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
from sparsegate_server.index.kernels.segment_search import WINDOW, search_segment

__all__ = [
    "BAD_WEIGHT",
    "UNKNOWN_TERM",
    "UNSORTED",
    "WINDOW",
    "check_rows",
    "dot",
    "find_keys",
    "invert",
    "lower_bounds",
    "merge_order",
    "place_rows",
    "scan_forward",
    "search_segment",
    "visible_rows",
    "warm_up",
]
