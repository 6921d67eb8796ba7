"""Which segments of a shard to merge next.

Tiers as in Lucene and LSM trees: tier t holds segments of about `unit` · FACTOR^t live documents,
and FACTOR segments of one tier become one of the next. So a document is rewritten at most once per
tier, log_FACTOR(n / unit) times in all, and a shard has fewer than FACTOR segments in each tier.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

FACTOR: Final = 4
MAX_DEAD_SHARE: Final = 0.25
"""A segment with a larger share of dead documents is written again without them: every rewrite is
paid for by the deletes before it."""


class Weight(NamedTuple):
    """A segment, to the plan: stored documents, and the dead among them."""

    rows: int
    tombstones: int


def plan(segments: Sequence[Weight], unit: int) -> list[int]:
    """The places of the segments to replace by one, or none if all is well.

    Args:
        unit: documents of a freshly sealed segment.
    """
    tiers: defaultdict[int, list[int]] = defaultdict(list)
    for place, (rows, tombstones) in enumerate(segments):
        if tombstones > rows * MAX_DEAD_SHARE:
            return [place]
        tiers[_tier(rows - tombstones, unit)].append(place)
    crowded = [tier for tier, places in tiers.items() if len(places) >= FACTOR]
    return tiers[min(crowded)] if crowded else []


def _tier(documents: int, unit: int) -> int:
    tier = 0
    while documents >= unit * FACTOR:
        documents //= FACTOR
        tier += 1
    return tier
