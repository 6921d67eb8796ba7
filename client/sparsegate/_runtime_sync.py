"""What threads offer to the client. `_runtime_async` offers the same, under the same names."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import Queue
from time import sleep
from typing import Protocol, TypeAlias, TypeVar

import grpc
from grpc import (
    Channel,
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

Item_co = TypeVar("Item_co", covariant=True)

Documents: TypeAlias = Iterable[Document]


def open_channel(
    address: str, credentials: grpc.ChannelCredentials | None, options: Options
) -> Channel:
    if credentials is None:
        return insecure_channel(address, options)
    return secure_channel(address, credentials, options)


def each(documents: Documents) -> Iterator[Document]:
    return iter(documents)


class Stream(Protocol[Item_co]):
    """What grpc returns for a stream and has no public name for."""

    def __iter__(self) -> Iterator[Item_co]: ...

    def cancel(self) -> object: ...


def next_within(call: Stream[Item_co], seconds: float) -> Item_co | None:
    """The next reply of a stream; None at its end.

    Raises:
        TimeoutError: none came in time. The call is cancelled.
    """
    # A synchronous stream has no timed read: only ending the call wakes the reader.
    late = threading.Event()

    def give_up() -> None:
        late.set()
        call.cancel()

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        return next(iter(call), None)
    except grpc.RpcError:
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
