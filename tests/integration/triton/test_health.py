"""What a gateway without a Triton says of itself, and still does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sparsegate import Document, SparseVector, aio, errors
from sparsegate_server import settings
from sparsegate_server.app import Gateway
from sparsegate_server.inference.tritonserver import TritonServer, preflight
from sparsegate_server.rpc.server import ENCODE_SERVICE, SERVICES

pytestmark = pytest.mark.usefixtures("can_run_triton")

MODEL = "splade-tiny"
PATIENCE = 30.0
SERVING = health_pb2.HealthCheckResponse.SERVING
VECTOR = SparseVector([7, 2000], [1.0, 0.5])


@pytest.fixture
def port() -> int:
    """Where nothing listens yet."""
    return preflight.free_ports(1)[0]


@pytest.fixture
async def gateway(model_repository: Path, tmp_path: Path, port: int) -> AsyncIterator[Gateway]:
    made = Gateway(
        settings.load(
            server={"port": 0, "metrics_port": -1, "drain_seconds": 5},
            models={"repository": model_repository, "names": [MODEL]},
            inference={"backend": "triton"},
            triton={"urls": [f"127.0.0.1:{port}"]},
            index={"folder": tmp_path / "data"},
        )
    )
    await made.start()
    yield made
    await made.stop()


async def healthy(channel: grpc.aio.Channel) -> set[str]:
    """The names that say that they serve."""
    health = health_pb2_grpc.HealthStub(channel)
    names = ("", *SERVICES)
    replies = [await health.Check(health_pb2.HealthCheckRequest(service=name)) for name in names]
    return {name for name, reply in zip(names, replies, strict=True) if reply.status == SERVING}


async def test_what_needs_no_model_serves_and_the_rest_comes_back_by_itself(
    model_repository: Path, gateway: Gateway, port: int
) -> None:
    address = f"127.0.0.1:{gateway.port}"
    needs_model = {"", ENCODE_SERVICE}
    options = [("grpc.enable_retries", 0)]
    async with (
        aio.Client(address, options=options) as client,
        grpc.aio.insecure_channel(address) as channel,
    ):
        assert await healthy(channel) == set(SERVICES) - needs_model
        assert not (await client.get_model(MODEL)).ready
        await client.create_collection("films")
        await client.upsert("films", [Document(1, vector=VECTOR)])
        found = await client.search("films", VECTOR)
        assert [hit.id for hit in found.hits] == [1]
        with pytest.raises(errors.Unavailable, match=r"check that Triton runs") as refused:
            await client.search("films", "a movie about music")
        assert refused.value.reason == "INFERENCE_UNAVAILABLE"
        assert refused.value.retry_after

        server = TritonServer(model_repository, [MODEL], grpc_port=port)
        await asyncio.to_thread(server.start)
        try:
            await client.wait_ready(PATIENCE)
            assert await healthy(channel) == {*SERVICES, *needs_model}
            assert (await client.get_model(MODEL)).ready
            await client.search("films", "a movie about music")
        finally:
            await asyncio.to_thread(server.stop)
