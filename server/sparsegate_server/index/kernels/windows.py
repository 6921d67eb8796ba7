"""The shape of a window: how documents are cut into runs that 16-bit local ids can name."""

WINDOW = 65_536
"""Documents of a window: as many as a uint16 can name. Its uint32 accumulators take 256 KiB and
stay in the second-level cache."""

BLOCK = 512
"""Documents of a block."""

BLOCKS = WINDOW // BLOCK
"""Blocks of a window."""

BLOCKED = 256
"""A term with at least so many postings in a window has its block maxima stored; with fewer, most
of its blocks would be empty and the maxima would outweigh the postings."""
