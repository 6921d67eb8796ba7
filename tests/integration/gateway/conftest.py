"""A real gateway in this process, reached over a real channel with the generated stubs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from sparsegate.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    document_pb2_grpc,
    encode_pb2_grpc,
    model_pb2_grpc,
    search_pb2_grpc,
)
from sparsegate_server import settings
from sparsegate_server.app import Gateway

LIMITS = {"max_texts": 8, "max_documents": 20, "max_searches": 4, "max_limit": 100}


@dataclass(frozen=True)
class Wire:
    """Stubs on one channel."""

    channel: grpc.aio.Channel
    gateway: Gateway

    @property
    def encode(self) -> encode_pb2_grpc.EncodeServiceAsyncStub:
        return encode_pb2_grpc.EncodeServiceStub(self.channel)

    @property
    def collections(self) -> collection_pb2_grpc.CollectionServiceAsyncStub:
        return collection_pb2_grpc.CollectionServiceStub(self.channel)

    @property
    def documents(self) -> document_pb2_grpc.DocumentServiceAsyncStub:
        return document_pb2_grpc.DocumentServiceStub(self.channel)

    @property
    def search(self) -> search_pb2_grpc.SearchServiceAsyncStub:
        return search_pb2_grpc.SearchServiceStub(self.channel)

    @property
    def models(self) -> model_pb2_grpc.ModelServiceAsyncStub:
        return model_pb2_grpc.ModelServiceStub(self.channel)

    async def create(self, name: str = "films", shards: int = 2) -> None:
        await self.collections.Create(
            collection_pb2.CreateCollectionRequest(name=name, shards=shards)
        )


def settings_for(repository: Path, **sections: object) -> settings.Settings:
    """Free ports; sections given here win."""
    return settings.load(
        **{
            "server": {"port": 0, "metrics_port": -1, "drain_seconds": 5},
            "models": {"repository": repository, "names": ["splade-tiny"]},
            "limits": LIMITS,
            **sections,
        }
    )


@pytest.fixture
async def wire(model_repository: Path) -> AsyncIterator[Wire]:
    """A gateway that encodes in process."""
    gateway = Gateway(settings_for(model_repository))
    await gateway.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        yield Wire(channel, gateway)
    await gateway.stop()
