"""Documents encoded a second at saturation: Triton beside inference in the gateway."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

from bench.report import Row
from bench.serving.ingest import upload
from bench.serving.load import Load, each_once
from bench.serving.rounds import closed_in_turns, in_turns, orders
from bench.serving.stand import ONNX, TRITON, Stand

from sparsegate.aio import Client

BAR = 2
_NAMES = (ONNX, TRITON)
_REQUIRED = 0.85
_CLIENTS, _TEXTS = 8, 16
"""That send at once, and texts of each of their requests."""

_SINGLES = (1, 8, 32)
_MOST_ROUNDS = 2


def run(stand: Stand) -> None:
    add = partial(_add, stand)
    seconds = _uploads(stand)
    count = len(stand.documents)
    note = f"{count:,} documents of SciFact"
    add("upload", {name: count / seconds[name] for name in _NAMES}, _REQUIRED, note)
    rates = asyncio.run(_requests(stand))
    add(f"Encode, {_CLIENTS} clients of {_TEXTS} texts a request", rates, _REQUIRED, note)
    for clients, loads in asyncio.run(_singles(stand)).items():
        what = f"Encode, {clients} client{'s' * (clients > 1)} of single texts"
        add(what, {name: loads[name].rate for name in _NAMES}, None, loads[TRITON].described())


def _add(
    stand: Stand, what: str, rates: dict[str, float], required: float | None, note: str
) -> None:
    stand.add(
        Row(BAR, f"{what}, triton", rates[TRITON], "documents/s", "in process", rates[ONNX],
            required, "≥", note=note)
    )  # fmt: skip


def _uploads(stand: Stand) -> dict[str, float]:
    """The best seconds of each."""
    seconds = dict.fromkeys(_NAMES, float("inf"))
    for order in orders(_NAMES, min(stand.choices.rounds, _MOST_ROUNDS)):
        for name in order:
            seconds[name] = min(seconds[name], upload(stand, name))
    return seconds


async def _requests(stand: Stand) -> dict[str, float]:
    """Documents a second, all documents once in each of the rounds."""
    async with AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(stand.clients(name, _CLIENTS)) for name in _NAMES
        }

        async def run(name: str, load: Load, _: int) -> None:
            # The load hands out where a request's documents begin.
            starts = [str(each) for each in range(0, len(stand.documents), _TEXTS)]
            calls = [partial(_encode_some, each, stand.documents) for each in clients[name]]
            await each_once(calls, starts, load)

        rounds = min(stand.choices.rounds, _MOST_ROUNDS)
        loads = await in_turns(_NAMES, rounds, run)
    return {name: rounds * len(stand.documents) / load.seconds for name, load in loads.items()}


async def _encode_some(client: Client, documents: Sequence[str], start: str) -> None:
    texts = documents[int(start) : int(start) + _TEXTS]
    (await client.encode(texts, mode="document")).unwrap()


async def _encode_one(client: Client, text: str) -> None:
    (await client.encode([text], mode="document")).unwrap()


async def _singles(stand: Stand) -> dict[int, dict[str, Load]]:
    """Closed loops, by the number of clients."""
    seconds, rounds = stand.choices.seconds, stand.choices.rounds
    feed = itertools.cycle(stand.documents)
    async with AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(stand.clients(name, max(_SINGLES)))
            for name in _NAMES
        }
        return {
            number: await closed_in_turns(
                {
                    name: [partial(_encode_one, each) for each in some[:number]]
                    for name, some in clients.items()
                },
                feed,
                seconds,
                rounds,
            )
            for number in _SINGLES
        }
