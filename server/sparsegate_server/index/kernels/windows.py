"""The shape of a window: how documents are cut into runs that 16-bit local ids can name."""

from sparsegate_server.index.kernels.registry import helper

WINDOW = 65_536
"""Documents of a window: as many as a uint16 can name. Its uint16 accumulators take 128 KiB and
stay in the second-level cache."""

BLOCK = 512
"""Documents of a block."""

BLOCKS = WINDOW // BLOCK
"""Blocks of a window."""

BLOCKED = 256
"""A term with at least so many postings in a window has its block maxima stored; with fewer, most
of its blocks would be empty and the maxima would outweigh the postings."""

DENSE = 10
"""A blocked term that at least one document in so many of its window has is stored as a column
with a byte for every document: adding a byte takes a sixtieth of the time of scattering a posting
of three, so that such a term is added in a fifth of the time and at most three times the space."""


@helper
def padded(documents: int) -> int:
    """Documents of a window rounded up to whole blocks: the length of its columns."""
    return (documents + BLOCK - 1) // BLOCK * BLOCK
