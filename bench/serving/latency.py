"""How long a search of a question takes: alone, and at seven tenths of what the service bears."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from bench.report import Row
from bench.serving.load import Call, Load, arrivals, open_loop
from bench.serving.rounds import closed_in_turns, in_turns
from bench.serving.stand import ONNX, TRITON, Stand

BAR = 3
_NAMES = (ONNX, TRITON)
_CLIENTS = (1, 8, 32)
_SHARE = 0.7
_ALONE_REQUIRED, _TAIL_REQUIRED = 1.5, 4.0


def run(stand: Stand) -> None:
    closed, opened = asyncio.run(_measure(stand))
    for number, loads in closed.items():
        ours, theirs = loads[TRITON], loads[ONNX]
        alone = number == 1
        what = f"Search, {number} client{'s' * (not alone)}, triton"
        stand.add(
            Row(BAR, f"{what}: p50", ours.percentile(50), "ms", "in process", theirs.percentile(50),
                _ALONE_REQUIRED if alone else None, note=ours.described()),
            Row(BAR, f"{what}: searches/s", ours.rate, "1/s", "in process", theirs.rate),
        )  # fmt: skip
    for name in (TRITON, ONNX):
        load, most = opened[name], closed[max(_CLIENTS)][name].rate
        required = _TAIL_REQUIRED if name == TRITON else None
        note = f"{_SHARE * most:.0f}/s of {most:.0f}/s, open loop; {load.described()}"
        what = f"Search, {_SHARE:.0%} of saturation, {name}: p99"
        medians = {
            "p50 of the same": load.percentile(50),
            "p50 of 1 client": closed[1][name].percentile(50),
        }
        for peer, median in medians.items():
            stand.add(Row(BAR, what, load.percentile(99), "ms", peer, median, required, note=note))


async def _measure(stand: Stand) -> tuple[dict[int, dict[str, Load]], dict[str, Load]]:
    """Closed loops by the number of clients, and open loops at a share of the rate of most."""
    seconds, rounds = stand.choices.seconds, stand.choices.rounds
    async with AsyncExitStack() as stack:
        calls = {
            name: await stack.enter_async_context(stand.searching(name, max(_CLIENTS)))
            for name in _NAMES
        }
        closed = {
            number: await closed_in_turns(_first(calls, number), stand.questions, seconds, rounds)
            for number in _CLIENTS
        }

        async def run(name: str, load: Load, number: int) -> None:
            rate = _SHARE * closed[max(_CLIENTS)][name].rate
            due = arrivals(rate, seconds, number)
            await open_loop(calls[name], stand.questions, due, load)

        return closed, await in_turns(_NAMES, rounds, run)


def _first(calls: Mapping[str, Sequence[Call]], number: int) -> dict[str, Sequence[Call]]:
    return {name: some[:number] for name, some in calls.items()}
