"""Who shares fairly with whom, through the wire: by the name in `x-client-id` and by address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.integration.gateway.conftest import LIMITS, Wire, serving

from sparsegate.v1 import encode_pb2, encode_pb2_grpc
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.dummy import DummyBackend
from sparsegate_server.models.spec import ModelSpec

REQUESTS, TEXTS = 10, 100
BULK, SINGLE = "a band on tour", "music"
ELSEWHERE = "127.0.0.2"
PATIENCE = 20.0


class Gate:
    """Stands before the backend of a gateway, which runs one batch at a time: a batch waits there
    until it is let through.

    Attributes:
        lengths: for each batch that has come, the tokens of each of its texts.
    """

    def __init__(self, backend: DummyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        self._infer = backend.infer
        self._permits = asyncio.Semaphore(0)
        self.lengths: list[list[int]] = []
        monkeypatch.setattr(backend, "infer", self._held)

    def let(self, batches: int) -> None:
        for _ in range(batches):
            self._permits.release()

    async def _held(
        self, spec: ModelSpec, batch: TokenBatch, *, timeout: float | None = None
    ) -> Mapping[str, NDArray[np.generic]]:
        self.lengths.append(batch.attention_mask.sum(axis=1).tolist())
        await self._permits.acquire()
        return await self._infer(spec, batch, timeout=timeout)


@pytest.fixture
async def one_at_a_time(model_repository: Path) -> AsyncIterator[Wire]:
    limits = {**LIMITS, "max_texts": TEXTS}
    inference = {"backend": "dummy", "max_concurrent_batches": 1}
    async with serving(model_repository, inference=inference, limits=limits) as wire:
        yield wire


@pytest.fixture
def gate(one_at_a_time: Wire, monkeypatch: pytest.MonkeyPatch) -> Gate:
    backend = one_at_a_time.gateway._inference
    assert isinstance(backend, DummyBackend)
    return Gate(backend, monkeypatch)


@asynccontextmanager
async def from_elsewhere(port: int) -> AsyncIterator[int]:
    """A port of loopback that leads to another one, which sees callers of another address."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", port, local_addr=(ELSEWHERE, 0))
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    async with await asyncio.start_server(forward, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[encode_pb2_grpc.EncodeServiceAsyncStub]:
    """Over a connection of its own, as another process would have it."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield encode_pb2_grpc.EncodeServiceStub(channel)


async def encode(
    stub: encode_pb2_grpc.EncodeServiceAsyncStub, name: str, text: str, count: int
) -> int:
    """How many texts were encoded."""
    request = encode_pb2.EncodeRequest(mode=encode_pb2.ENCODE_MODE_DOCUMENT, texts=[text] * count)
    metadata = (("x-client-id", name),) if name else ()
    reply = await stub.Encode(request, metadata=metadata, timeout=PATIENCE)
    return sum(result.HasField("encoding") for result in reply.results)


async def queued(wire: Wire, gate: Gate, texts: dict[str, int]) -> None:
    """Returns when all of that waits, but for the one batch that is held."""
    tokens = {BULK: 6, SINGLE: 3}
    sent = sum(tokens[text] * count for text, count in texts.items())
    sample = wire.gateway.metrics.registry.get_sample_value
    for _ in range(round(PATIENCE / 0.005)):
        waiting = sample("sparsegate_waiting_tokens", {"lane": "bulk"})
        if gate.lengths and waiting == sent - sum(gate.lengths[0]):
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{waiting} of {sent} tokens wait")


@asynccontextmanager
async def both_waiting(
    wire: Wire, gate: Gate, names: tuple[str, str], elsewhere: bool
) -> AsyncIterator[tuple[list[asyncio.Task[int]], asyncio.Task[int]]]:
    """A thousand texts of one client, in ten requests, and behind them a single one of another; all
    of them come to their end with the context.

    Args:
        names: what the two call themselves.
        elsewhere: whether the second has another address.
    """
    port = wire.gateway.port
    async with (
        from_elsewhere(port) as other,
        connected(port) as first,
        connected(other if elsewhere else port) as second,
    ):
        bulk = [asyncio.create_task(encode(first, names[0], BULK, TEXTS)) for _ in range(REQUESTS)]
        await queued(wire, gate, {BULK: REQUESTS * TEXTS})
        single = asyncio.create_task(encode(second, names[1], SINGLE, 1))
        await queued(wire, gate, {BULK: REQUESTS * TEXTS, SINGLE: 1})
        yield bulk, single
        gate.let(REQUESTS * TEXTS)
        assert await asyncio.gather(*bulk, single) == [TEXTS] * REQUESTS + [1]


async def test_a_single_text_is_answered_before_the_rest_of_another_clients_thousand(
    one_at_a_time: Wire, gate: Gate
) -> None:
    async with both_waiting(one_at_a_time, gate, ("a", "b"), False) as (bulk, single):
        gate.let(2)  # the one that was held already, and the next
        assert await single == 1
        assert not any(each.done() for each in bulk)
        assert len(gate.lengths) <= 3
        through = sum(map(len, gate.lengths[:2]))
        assert through < REQUESTS * TEXTS / 4


@pytest.mark.parametrize(
    ("names", "elsewhere", "apart"),
    [
        (("a", "b"), False, True),
        (("a", "a"), False, False),
        (("", "b"), False, True),
        # Without a name it is the address that counts, and not the connection.
        (("", ""), False, False),
        (("", ""), True, True),
        (("a", "a"), True, True),
    ],
)
async def test_clients_are_told_apart_by_address_and_name(
    one_at_a_time: Wire, gate: Gate, names: tuple[str, str], elsewhere: bool, apart: bool
) -> None:
    async with both_waiting(one_at_a_time, gate, names, elsewhere):
        pass
    turn = next(at for at, lengths in enumerate(gate.lengths) if 3 in lengths)
    # One who shares with himself waits until each of his own requests has had its part.
    assert turn == 1 if apart else turn > 4
