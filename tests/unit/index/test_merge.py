from __future__ import annotations

import math

from sparsegate_server.index.merge import FACTOR, MAX_DEAD_SHARE, Weight, plan


def test_nothing_to_do() -> None:
    assert plan([], 100) == []
    assert plan([Weight(100, 0)] * (FACTOR - 1), 100) == []


def test_a_crowded_tier_is_merged_the_smallest_first() -> None:
    large = [Weight(100 * FACTOR, 0)] * FACTOR
    small = [Weight(100, 0)] * FACTOR
    assert plan(large + small, 100) == list(range(FACTOR, 2 * FACTOR))
    assert plan(large, 100) == list(range(FACTOR))


def test_a_dying_segment_is_rewritten() -> None:
    dead = int(100 * MAX_DEAD_SHARE)
    assert plan([Weight(100, 0), Weight(100, dead)], 100) == []
    assert plan([Weight(100, 0), Weight(100, dead + 1)], 100) == [1]
    assert plan([Weight(1, 1)], 100) == [0]


def test_segments_stay_few_and_rewrites_rare() -> None:
    unit, sealed = 10, 3000
    segments: list[Weight] = []
    rewritten = 0
    tiers = math.ceil(math.log(sealed, FACTOR)) + 1
    for _ in range(sealed):
        segments.append(Weight(unit, 0))
        while chosen := plan(segments, unit):
            total = sum(segments[place].rows for place in chosen)
            rewritten += total
            kept = [each for place, each in enumerate(segments) if place not in chosen]
            segments = [*kept, Weight(total, 0)]
        assert len(segments) <= (FACTOR - 1) * tiers
    assert sum(each.rows for each in segments) == unit * sealed
    assert rewritten <= unit * sealed * tiers
