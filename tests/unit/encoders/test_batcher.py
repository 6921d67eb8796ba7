"""Who shares a batch, who goes first, and who is refused because too many wait."""

from __future__ import annotations

import asyncio

import pytest

from sparsegate_server.encoders import batcher
from sparsegate_server.encoders.base import Caller, EncodeTimings
from sparsegate_server.encoders.batching import ServedGraph
from sparsegate_server.errors import Overloaded

from .scenes import SPEC, first_tokens, scene, settle


async def test_texts_of_many_requests_share_a_batch_and_come_back_in_order() -> None:
    async with scene() as s:
        timings = EncodeTimings()
        tasks = [s.ask(9), s.ask(5, 3, 4, timings=timings), s.ask(1, 2)]
        await settle()
        assert s.backend.contents == [[1, 3, 5, 9]]
        await s.backend.let_all_go()
        assert await asyncio.gather(*tasks) == [[9], [5, 3, 4], [1, 2]]
        assert s.backend.contents == [[1, 3, 5, 9], [2, 4]]
        assert timings.batches == [4, 2]
        assert timings.infer > 0


async def test_a_request_without_texts_needs_no_inference() -> None:
    async with scene() as s:
        assert await s.ask() == []
        assert s.backend.batches == []


async def test_queries_go_before_documents_and_have_their_own_places() -> None:
    async with scene(bulk=2) as s:
        for text in (1, 2, 3):
            s.ask(text, tokens=500)
            await settle()
        s.ask(100, urgent=True)
        s.ask(4)
        await settle()
        assert s.backend.contents == [[1], [2], [100]]
        s.ask(101, urgent=True)
        await s.backend.let_go(3)
        assert s.backend.contents[3:] == [[101], [3]]
        await s.backend.let_go()
        assert s.backend.contents[5:] == [[4]]


async def test_a_client_with_one_text_goes_before_the_rest_of_a_clients_many() -> None:
    async with scene(texts=2) as s:
        s.ask(*range(1, 9), caller=Caller("many"))
        await settle()
        s.ask(100, caller=Caller("one"))
        await s.backend.let_go()
        assert s.backend.contents == [[1, 2], [3, 100]]


async def test_a_full_lane_refuses_a_request_whole_with_a_hint() -> None:
    async with scene(most=45) as s:
        s.ask(1)
        await settle()
        s.ask(2, 3, 4)
        await settle()
        with pytest.raises(Overloaded, match="30 tokens are waiting") as refused:
            await s.ask(5, 6)
        assert (refused.value.retry_after or 0) > 0
        assert (s.waiting(), s.dropped("overloaded")) == (30, 2)
        query = s.ask(100, urgent=True)
        fits = s.ask(7)
        await s.backend.let_all_go()
        assert (await query, await fits) == ([100], [7])
        assert s.waiting() == 0


@pytest.mark.parametrize("urgent", [True, False])
async def test_what_never_fits_is_not_told_to_come_again(urgent: bool) -> None:
    async with scene(most=25) as s:
        with pytest.raises(Overloaded, match=r"30 tokens.*more than the 25.*send fewer") as refused:
            await s.ask(1, 2, 3, urgent=urgent)
        assert refused.value.retry_after is None
        assert s.dropped("overloaded", "query" if urgent else "bulk") == 3


async def test_the_hint_follows_the_measured_pace() -> None:
    async with scene(most=200, texts=1) as s:
        loop = asyncio.get_running_loop()
        began = loop.time()
        s.ask(1, tokens=16)
        await settle()
        await asyncio.sleep(0.08)
        await s.backend.let_go()
        took = loop.time() - began
        s.ask(*range(20))
        await settle()
        with pytest.raises(Overloaded) as refused:
            await s.ask(98, 99)
        # 190 tokens wait, and 16 took so long, if not a little less.
        assert 190 / 16 * 0.07 < (refused.value.retry_after or 0) <= 190 / 16 * took


async def test_graphs_do_not_share_a_batch() -> None:
    async with scene() as s:
        one = s.ask(1)
        s.graph = ServedGraph(SPEC, first_tokens)
        other = s.ask(2)
        await settle()
        await s.backend.let_all_go()
        assert (await one, await other) == ([1], [2])
        assert s.backend.contents == [[1], [2]]


async def test_padding_is_counted() -> None:
    async with scene() as s:
        s.ask(1, 2, 3)
        await s.backend.let_all_go()
        await settle()
        await s.backend.let_all_go()
        count = s.metrics.registry.get_sample_value
        assert count("sparsegate_padded_tokens_total", {"model": "tiny"}) == 48
        assert count("sparsegate_inference_batch_size_sum", {"model": "tiny"}) == 3


async def test_a_batch_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server may be gone, or its model stand still while others run."""
    monkeypatch.setattr(batcher, "_OVERDUE_SECONDS", 0.1)
    async with scene(queries=1) as s:
        hanging = s.ask(1, urgent=True)
        await settle()
        other = s.ask(2, urgent=True)
        await settle()
        assert s.backend.contents == [[1]]
        await s.backend.come([2])
        monkeypatch.setattr(batcher, "_OVERDUE_SECONDS", 60.0)
        await s.backend.let_all_go()
        assert (await hanging, await other) == ([1], [2])
        # A place that was given away does not come back twice.
        s.ask(3, urgent=True)
        await settle()
        s.ask(4, urgent=True)
        await settle()
        assert s.backend.contents == [[1], [2], [3]]


async def test_a_batch_of_a_slow_model_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "_OVERDUE_SECONDS", 0.05)
    async with scene(queries=1, texts=1) as s:
        s.ask(1, urgent=True)
        await settle()
        await asyncio.sleep(0.2)
        await s.backend.let_all_go()
        # As it has been seen to take a fifth of a second, it may take eight times that.
        s.ask(2, urgent=True)
        await settle()
        s.ask(3, urgent=True)
        await asyncio.sleep(0.2)
        assert s.backend.contents == [[1], [2]]
