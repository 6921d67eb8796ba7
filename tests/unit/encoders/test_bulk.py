"""Bulk keeps out of the way of queries, and still goes on."""

from __future__ import annotations

import pytest

from sparsegate_server.encoders import batcher
from sparsegate_server.errors import Overloaded

from .scenes import scene, settle


async def test_bulk_leaves_places_while_queries_come() -> None:
    async with scene(bulk=3, kept=1, texts=1) as s:
        s.ask(100, urgent=True)
        await settle()
        await s.backend.let_all_go()
        s.ask(1, 2, 3, 4)
        await settle()
        assert s.backend.contents == [[100], [1], [2]]


async def test_batches_of_bulk_are_smaller_while_queries_come() -> None:
    async with scene(texts=100, quiet_tokens=8192) as s:
        s.ask(*range(40), tokens=128)
        await settle()
        s.ask(100, urgent=True)
        await settle()
        s.ask(*range(40), tokens=128)
        await s.backend.let_all_go()
        await settle()
        assert [len(batch.input_ids) for batch in s.backend.batches] == [40, 1, 32, 8]


async def test_bulk_waits_for_queries_that_run_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Although nothing comes and nothing ends that would have the queue looked at."""
    monkeypatch.setattr(batcher, "_LONGEST_PAUSE", 0.2)
    async with scene(bulk=2, kept=1, texts=1) as s:
        s.ask(1)
        await settle()
        await s.backend.let_go()
        s.ask(100, urgent=True)
        await settle()
        s.ask(2, 3)
        await settle()
        assert s.backend.contents == [[1], [100]]
        await s.backend.come([2])
        assert s.backend.contents == [[1], [100], [2]]


async def test_a_batch_that_took_very_long_makes_no_long_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one that a dead server had, until another one ran it."""
    now = 1000.0
    with monkeypatch.context() as patched:
        patched.setattr(batcher, "_now", lambda: now)
        async with scene(bulk=2, kept=1, texts=1, rest=2.0) as s:
            s.ask(1)
            await settle()
            now += 60.0
            s.ask(100, urgent=True)
            await settle()
            await s.backend.let_all_go()
            now += batcher._LONGEST_PAUSE / 2
            s.ask(2)
            await settle()
            await s.backend.let_all_go()
            s.ask(3)
            await settle()
            assert [3] not in s.backend.contents
            now += batcher._LONGEST_PAUSE
            await s.backend.come([3])


@pytest.mark.parametrize("rests", [True, False])
@pytest.mark.parametrize("queries_come", [True, False])
async def test_bulk_rests_after_a_batch_that_queries_came_into(
    rests: bool, queries_come: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it took: the clock of the batcher is the test's."""
    now = 1000.0
    monkeypatch.setattr(batcher, "_now", lambda: now)
    monkeypatch.setattr(batcher, "_LONGEST_PAUSE", 90.0)
    monkeypatch.setattr(batcher, "_QUIET_SECONDS", 90.0)
    async with scene(bulk=1, texts=1, rest=float(rests)) as s:
        s.ask(1, 2)
        await settle()
        now += 5.0
        if queries_come:
            s.ask(100, urgent=True)
            await settle()
        await s.backend.let_all_go()
        resting = rests and queries_come
        assert ([2] in s.backend.contents) is not resting
        now += 4.9
        s.ask(101, urgent=True)
        await settle()
        await s.backend.let_all_go()
        assert ([2] in s.backend.contents) is not resting
        now += 0.2
        s.ask(102, urgent=True)
        await settle()
        await s.backend.let_all_go()
        assert [2] in s.backend.contents


async def test_a_full_lane_of_bulk_that_pauses_for_queries_is_refused_with_a_hint() -> None:
    async with scene(bulk=2, kept=1, texts=1, most=25) as s:
        s.ask(1)
        await settle()
        s.ask(100, urgent=True)
        s.ask(2, 3)
        await settle()
        assert s.backend.contents == [[1], [100]]
        with pytest.raises(Overloaded, match="20 tokens are waiting") as refused:
            await s.ask(4)
        assert (refused.value.retry_after or 0) > 0
