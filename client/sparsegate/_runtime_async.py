"""What asyncio offers to the client. `_runtime_sync` offers the same, under the same names."""

from __future__ import annotations

import asyncio
from asyncio import Queue, sleep
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import TypeAlias, TypeVar

import grpc
from grpc.aio import (
    Channel,
    StreamStreamCall,
    StreamStreamMultiCallable,
    UnaryUnaryMultiCallable,
    insecure_channel,
    secure_channel,
)

from sparsegate._channel import Options
from sparsegate.types import Document

__all__ = [
    "Channel",
    "Documents",
    "Queue",
    "StreamStreamMultiCallable",
    "UnaryUnaryMultiCallable",
    "each",
    "next_within",
    "open_channel",
    "sleep",
]

Sent = TypeVar("Sent")
Item = TypeVar("Item")

Documents: TypeAlias = Iterable[Document] | AsyncIterable[Document]


def open_channel(
    address: str, credentials: grpc.ChannelCredentials | None, options: Options
) -> Channel:
    if credentials is None:
        return insecure_channel(address, options)
    return secure_channel(address, credentials, options)


async def each(documents: Documents) -> AsyncIterator[Document]:
    """Walks over either kind of iterable."""
    if isinstance(documents, AsyncIterable):
        async for document in documents:
            yield document
    else:
        for document in documents:
            yield document


async def next_within(call: StreamStreamCall[Sent, Item], seconds: float) -> Item | None:
    """The next reply of a stream; None at its end.

    Raises:
        TimeoutError: none came in time. The call is cancelled.
    """
    async with asyncio.timeout(seconds):
        return await anext(aiter(call), None)
