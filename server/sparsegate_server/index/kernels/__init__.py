"""Compiled inner loops: one algorithm a file, plain arrays in and out, no GIL, no Python object.

Importing this package declares every kernel, so that `warm_up` finds them all.
"""

from sparsegate_server.index.kernels.bounds import MOST_TERMS
from sparsegate_server.index.kernels.chains import NO_LINK, chain_rows, search_chains
from sparsegate_server.index.kernels.frequencies import document_frequencies
from sparsegate_server.index.kernels.keys import find_keys, lower_bounds, merge_order, read_integers
from sparsegate_server.index.kernels.masks import (
    NO_BUCKET,
    add_rows,
    both,
    count_bits,
    either,
    fill_buckets,
    held,
    list_rows,
    without,
)
from sparsegate_server.index.kernels.points import number_place, time_place
from sparsegate_server.index.kernels.postings import invert, measure
from sparsegate_server.index.kernels.programs import (
    ADD_NUMBERS,
    ADD_ROARING,
    ADD_ROWS,
    ADD_TIMES,
    ADD_WORDS,
    AND,
    DAMAGED,
    EVERY,
    NONE,
    OR,
    TALLIED,
    TALLY,
    TOO_DEEP,
    WITHOUT,
    run_program,
)
from sparsegate_server.index.kernels.registry import warm_up
from sparsegate_server.index.kernels.rows import (
    BAD_WEIGHT,
    UNKNOWN_TERM,
    UNSORTED,
    check_rows,
    count_terms,
    place_rows,
    visible_rows,
)
from sparsegate_server.index.kernels.score import scan_rows
from sparsegate_server.index.kernels.segment_search import (
    RARE,
    STEPWISE,
    WHOLE,
    search_segments,
)
from sparsegate_server.index.kernels.segments import segment_row
from sparsegate_server.index.kernels.wal import scan_wal
from sparsegate_server.index.kernels.windows import BLOCK, BLOCKS, WINDOW

__all__ = [
    "ADD_NUMBERS",
    "ADD_ROARING",
    "ADD_ROWS",
    "ADD_TIMES",
    "ADD_WORDS",
    "AND",
    "BAD_WEIGHT",
    "BLOCK",
    "BLOCKS",
    "DAMAGED",
    "EVERY",
    "MOST_TERMS",
    "NONE",
    "NO_BUCKET",
    "NO_LINK",
    "OR",
    "RARE",
    "STEPWISE",
    "TALLIED",
    "TALLY",
    "TOO_DEEP",
    "UNKNOWN_TERM",
    "UNSORTED",
    "WHOLE",
    "WINDOW",
    "WITHOUT",
    "add_rows",
    "both",
    "chain_rows",
    "check_rows",
    "count_bits",
    "count_terms",
    "document_frequencies",
    "either",
    "fill_buckets",
    "find_keys",
    "held",
    "invert",
    "list_rows",
    "lower_bounds",
    "measure",
    "merge_order",
    "number_place",
    "place_rows",
    "read_integers",
    "run_program",
    "scan_rows",
    "scan_wal",
    "search_chains",
    "search_segments",
    "segment_row",
    "time_place",
    "visible_rows",
    "warm_up",
    "without",
]
