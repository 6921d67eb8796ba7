"""A real gateway in this process, reached over a real channel with the generated stubs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from sparsegate.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    common_pb2,
    document_pb2,
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


def read(status: Status) -> tuple[int, str, list[str]]:
    """(code, reason, blamed fields); every deliberate error carries an ErrorInfo."""
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.domain == "sparsegate"
    for detail in status.details:
        detail.Unpack(bad)
    fields = [violation.field for violation in bad.field_violations]
    for field in fields[:1]:
        assert field in status.message
    return status.code, info.reason, fields


def details(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str, list[str]]:
    metadata = dict(error.trailing_metadata() or ())
    assert metadata["x-request-id"]
    status = Status.FromString(metadata["grpc-status-details-bin"])
    code, reason, fields = read(status)
    assert code == error.code().value[0]
    assert status.message == error.details()
    return error.code(), reason, fields


async def collect(
    stream: AsyncIterator[document_pb2.UpsertStreamResponse],
    into: list[document_pb2.UpsertStreamResponse],
) -> None:
    async for reply in stream:
        into.append(reply)  # noqa: PERF401 - what came before an error must survive it


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


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where every gateway of a test keeps its collections."""
    folder = tmp_path / "data"
    monkeypatch.setenv("SPARSEGATE_INDEX__FOLDER", str(folder))
    return folder


@asynccontextmanager
async def serving(repository: Path, **sections: object) -> AsyncIterator[Wire]:
    """A gateway that encodes in process, for as long as the block lasts."""
    gateway = Gateway(settings_for(repository, **sections))
    await gateway.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
            yield Wire(channel, gateway)
    finally:
        await gateway.stop()


@pytest.fixture
async def wire(model_repository: Path, data_folder: Path) -> AsyncIterator[Wire]:
    async with serving(model_repository) as wire:
        yield wire


@pytest.fixture
async def films(wire: Wire) -> Wire:
    """With a collection of one document."""
    await wire.create()
    document = common_pb2.Document(id=common_pb2.DocumentId(number=1), text="a film about a band")
    await wire.documents.Upsert(
        document_pb2.UpsertRequest(collection="films", documents=[document])
    )
    return wire
