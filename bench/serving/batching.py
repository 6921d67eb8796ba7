"""What batching across clients does to 32 of them that send single texts of mixed lengths."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from bench.report import Row
from bench.serving.load import Call, Load, arrivals, open_loop
from bench.serving.rounds import closed_in_turns, in_turns
from bench.serving.stand import TRITON, UNBATCHED, Stand, counter

BAR = 4
_NAMES = (TRITON, UNBATCHED)
_CLIENTS = 32
_SHARES = {UNBATCHED: 0.7, TRITON: 0.9}
"""Of the rates at saturation, at which queries are offered to both: what both can bear, so that
each has a median that lasts, and what fills batches and may be more than can be had without."""

Calls = Mapping[str, Sequence[Call]]
_BATCH_REQUIRED, _MEDIAN_REQUIRED = 8.0, 2.0


@dataclass(frozen=True, slots=True)
class Executions:
    """What Triton has run so far: texts, and batches of them."""

    texts: float
    batches: float

    @classmethod
    def of(cls, stand: Stand) -> Executions:
        port = stand.triton.ports.metrics
        return cls(counter(port, "nv_inference_count"), counter(port, "nv_inference_exec_count"))

    def mean_since(self, before: Executions) -> float:
        """Texts of one batch."""
        return (self.texts - before.texts) / max(1.0, self.batches - before.batches)


def run(stand: Stand) -> None:
    asyncio.run(_measure(stand))


async def _measure(stand: Stand) -> None:
    async with AsyncExitStack() as stack:
        calls = {
            name: await stack.enter_async_context(stand.searching(name, _CLIENTS))
            for name in _NAMES
        }
        closed = await _closed(stand, calls, stand.mixed, "texts of 4 to 128 words", required=True)
        await _closed(stand, {TRITON: calls[TRITON]}, stand.questions, "questions", required=False)
        for bearer, share in _SHARES.items():
            bears = "batching" if bearer == TRITON else "no batching"
            rate = share * closed[bearer].rate
            await _open(stand, calls, rate, f"{share:.0%} of what {bears} bears")


async def _closed(
    stand: Stand, calls: Calls, feed: Iterator[str], what: str, *, required: bool
) -> dict[str, Load]:
    """Everyone asks as soon as there is an answer: how many texts Triton has in a batch then."""
    before = Executions.of(stand)
    loads = await closed_in_turns(calls, feed, stand.choices.seconds, stand.choices.rounds)
    batch = Executions.of(stand).mean_since(before)
    ours, without = loads[TRITON], loads.get(UNBATCHED)
    stand.add(
        Row(BAR, f"mean Triton batch, {_CLIENTS} clients, {what}", batch, "texts",
            required=_BATCH_REQUIRED if required else None, sense="≥", absolute=True,
            note="inferences ÷ executions, closed loop"),
        Row(BAR, f"Search, {_CLIENTS} clients, {what}", ours.rate, "1/s",
            "without batching" if without else "", without.rate if without else None,
            note=ours.described()),
    )  # fmt: skip
    return loads


async def _open(stand: Stand, calls: Calls, rate: float, note: str) -> None:
    """The median at a rate that is offered to both."""

    async def run(name: str, load: Load, number: int) -> None:
        due = arrivals(rate, stand.choices.seconds, number)
        await open_loop(calls[name], stand.mixed, due, load)

    before = Executions.of(stand)
    loads = await in_turns(_NAMES, stand.choices.rounds, run)
    batch = Executions.of(stand).mean_since(before)
    ours, without = loads[TRITON], loads[UNBATCHED]
    stand.add(
        Row(BAR, f"Search of mixed lengths, {rate:.0f}/s: p50", ours.percentile(50), "ms",
            "without batching", without.percentile(50), _MEDIAN_REQUIRED,
            note=f"{note}; mean batch {batch:.1f}; {ours.described()};"
            f" without: {without.described()}")
    )  # fmt: skip
