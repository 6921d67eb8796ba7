"""Who fails when a batch does: a bad text alone, everyone where inference is away."""

from __future__ import annotations

import asyncio

import pytest

from sparsegate_server.errors import InferenceFailed, InferenceUnavailable

from .scenes import POISON, scene, settle


async def test_one_bad_text_fails_alone() -> None:
    async with scene() as s:
        good, bad = s.ask(1, 2), s.ask(3, POISON)
        await settle()
        assert len(s.backend.batches) == 1
        await s.backend.let_all_go()
        assert await good == [1, 2]
        three, failed = await bad
        assert three == 3
        assert isinstance(failed, InferenceFailed)
        assert s.backend.contents == [[1, 2, 3, POISON], [1], [2], [3], [POISON]]


async def test_a_request_that_ends_while_its_texts_are_tried_alone_takes_them_along() -> None:
    async with scene() as s:
        stays, gone = s.ask(POISON), s.ask(1, 2)
        await settle()
        await s.backend.let_go()
        gone.cancel()
        await s.backend.let_all_go()
        (failed,) = await stays
        assert isinstance(failed, InferenceFailed)
        assert s.backend.contents == [[1, 2, POISON], [POISON]]


@pytest.mark.parametrize("error", [InferenceUnavailable("away"), KeyError("unexpected")])
async def test_what_is_no_texts_fault_reaches_everyone_of_the_batch(error: Exception) -> None:
    async with scene() as s:
        s.backend.error = error
        tasks = [s.ask(1), s.ask(2, 3)]
        later = s.ask(4, tokens=500)
        await settle()
        await s.backend.let_go()
        s.backend.error = None
        await s.backend.let_all_go()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert found == [error, error]
        assert await later == [4]


async def test_a_request_that_fails_takes_its_other_texts_along() -> None:
    async with scene(texts=1) as s:
        task, other = s.ask(1, 2, 3), s.ask(9)
        await settle()
        s.backend.error = InferenceUnavailable("away")
        await s.backend.let_go()
        with pytest.raises(InferenceUnavailable):
            await task
        s.backend.error = None
        await s.backend.let_all_go()
        assert await other == [9]
        assert s.backend.contents == [[1], [9]]
