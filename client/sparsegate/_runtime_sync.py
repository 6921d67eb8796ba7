"""What threads offer to the client. `_runtime_async` offers the same, under the same names."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import Queue
from time import sleep
from typing import Any, Generic, TypeAlias, TypeVar

import grpc
from grpc import (
    Channel,
    StreamStreamMultiCallable,
    StreamUnaryMultiCallable,
    UnaryStreamMultiCallable,
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
    "Stream",
    "StreamStreamMultiCallable",
    "StreamUnaryMultiCallable",
    "UnaryStreamMultiCallable",
    "UnaryUnaryMultiCallable",
    "each",
    "in_thread",
    "open_channel",
    "sleep",
]

Sent = TypeVar("Sent")
Received = TypeVar("Received")
Item = TypeVar("Item")

Documents: TypeAlias = Iterable[Document]


def open_channel(
    address: str, credentials: grpc.ChannelCredentials | None, options: Options
) -> Channel:
    if credentials is None:
        return insecure_channel(address, options)
    return secure_channel(address, credentials, options)


def each(documents: Documents) -> Iterator[Document]:
    return iter(documents)


def in_thread(function: Callable[..., Item], *args: Any) -> Item:
    """Calls it here: the caller has a thread of its own already."""
    return function(*args)


class Stream(Generic[Sent, Received]):
    """A call whose requests and replies are both streams."""

    def __init__(
        self,
        method: StreamStreamMultiCallable[Sent, Received],
        requests: Iterator[Sent],
        metadata: Sequence[tuple[str, str]],
    ) -> None:
        self._call = method(requests, metadata=tuple(metadata))

    def next_within(self, seconds: float) -> Received | None:
        """The next reply; None at the end.

        Raises:
            TimeoutError: none came in time. The call is cancelled.
            grpc.RpcError: the call failed.
        """
        # There is no timed read: only ending the call wakes the reader.
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._call.cancel()

        timer = threading.Timer(seconds, give_up)
        timer.daemon = True
        timer.start()
        try:
            return next(self._call, None)
        except grpc.RpcError:
            if late.is_set():
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()

    def cancel(self) -> None:
        self._call.cancel()
