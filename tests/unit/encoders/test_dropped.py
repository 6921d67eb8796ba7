"""Texts whose deadline cannot be met, or whose client has gone, cost nothing more."""

from __future__ import annotations

import asyncio

import pytest

from sparsegate_server.encoders import batcher
from sparsegate_server.encoders.base import Caller
from sparsegate_server.encoders.pace import TRUSTED_SECONDS
from sparsegate_server.errors import DeadlineExceeded

from .scenes import scene, settle, within


async def test_a_deadline_that_has_passed_is_refused_even_when_there_is_room() -> None:
    async with scene() as s:
        with pytest.raises(DeadlineExceeded):
            await s.ask(1, caller=within(-1))
        assert s.backend.batches == []
        assert s.dropped("deadline") == 1


async def test_texts_leave_the_queue_at_their_deadline_and_cost_nothing() -> None:
    async with scene() as s:
        s.ask(1)
        await settle()
        late, patient = s.ask(2, caller=within(0.01)), s.ask(3)
        with pytest.raises(DeadlineExceeded):
            await late
        assert s.waiting() == 10
        await s.backend.let_all_go()
        assert await patient == [3]
        assert s.backend.contents == [[1], [3]]
        assert s.dropped("deadline") == 1


async def test_a_deadline_that_inference_cannot_meet_drops_the_text_before_it() -> None:
    async with scene() as s:
        s.ask(1)
        await settle()
        await asyncio.sleep(0.5)
        hopeless, patient = s.ask(2, caller=within(0.4)), s.ask(3, caller=within(10))
        await s.backend.let_go()
        with pytest.raises(DeadlineExceeded, match="no time"):
            await hopeless
        await s.backend.let_all_go()
        assert await patient == [3]
        assert s.backend.contents == [[1], [3]]


async def test_texts_in_a_hurry_are_not_given_up_for_ever_after_one_slow_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that are dropped show nothing, and so one must be tried."""
    loop = asyncio.get_running_loop()
    passed = 0.0
    with monkeypatch.context() as patched:
        patched.setattr(batcher, "_now", lambda: loop.time() + passed)
        async with scene() as s:

            def hurried(text: int) -> asyncio.Task[list[object]]:
                return s.ask(text, caller=Caller(deadline=loop.time() + passed + 60))

            s.ask(1)
            await settle()
            passed += 600
            await s.backend.let_go()
            with pytest.raises(DeadlineExceeded, match="no time"):
                await hurried(2)
            passed += TRUSTED_SECONDS
            tried = hurried(3)
            await settle()
            await s.backend.let_go()
            assert await tried == [3]
            again = hurried(4)
            await settle()
            await s.backend.let_go()
            assert await again == [4]


async def test_a_short_deadline_fails_none_of_the_same_batch() -> None:
    async with scene() as s:
        hasty, patient = s.ask(1, caller=within(0.02)), s.ask(2, caller=within(10))
        with pytest.raises(DeadlineExceeded):
            await hasty
        assert 5 < (s.backend.timeouts[0] or 0) <= 10
        s.ask(3, caller=within(10)), s.ask(4)
        await s.backend.let_go()
        assert await patient == [2]
        assert s.backend.timeouts[1] is None


async def test_who_has_gone_leaves_the_queue() -> None:
    async with scene() as s:
        s.ask(1)
        await settle()
        gone, stays = s.ask(2, 3), s.ask(4)
        await settle()
        gone.cancel()
        await settle()
        assert (s.waiting(), s.dropped("cancelled")) == (10, 2)
        await s.backend.let_all_go()
        assert await stays == [4]
        assert s.backend.contents == [[1], [4]]


async def test_a_batch_ends_when_nobody_wants_it_any_more_and_its_place_is_free() -> None:
    async with scene() as s:
        one, other, third = s.ask(1), s.ask(2), s.ask(3, tokens=500)
        await settle()
        one.cancel()
        await settle()
        assert s.backend.cancelled == 0
        other.cancel()
        await settle()
        assert s.backend.cancelled == 1
        await s.backend.let_all_go()
        assert await third == [3]


async def test_a_batch_that_is_not_wanted_before_it_has_begun_frees_its_place() -> None:
    async with scene() as s:
        one = s.ask(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        one.cancel()
        other = s.ask(2)
        await s.backend.let_all_go()
        await settle()
        await s.backend.let_all_go()
        assert await other == [2]
