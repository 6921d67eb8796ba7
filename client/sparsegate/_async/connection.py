"""The connection: channel, deadlines, headers, readiness."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from sparsegate import _requests
from sparsegate._channel import channel_options
from sparsegate._runtime_async import Channel, UnaryUnaryMultiCallable, open_channel, sleep
from sparsegate._status import error_from_call
from sparsegate.errors import DeadlineExceeded, Unavailable
from sparsegate.types import CallOptions
from sparsegate.v1.collection_pb2_grpc import CollectionServiceStub
from sparsegate.v1.document_pb2_grpc import DocumentServiceStub
from sparsegate.v1.encode_pb2_grpc import EncodeServiceStub
from sparsegate.v1.model_pb2_grpc import ModelServiceStub
from sparsegate.v1.search_pb2_grpc import SearchServiceStub

Request = TypeVar("Request")
Reply = TypeVar("Reply")

# grpc.health.v1 is two messages of one field: written out, they spare the client a dependency.
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"
_WHOLE_SERVER = b""
_SERVING = b"\x08\x01"


PATIENCE = 3600.0
"""Seconds for a call whose work grows with a whole collection, where the caller sets none."""


def patient(options: CallOptions) -> CallOptions:
    """Options of a call that may take long."""
    return {**options, "timeout": options.get("timeout", PATIENCE)}


class Connection:
    """A channel to the gateway, and how calls are made on it."""

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        *,
        timeout: float = 30.0,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        """Connects lazily: nothing is sent before the first call.

        Args:
            address: `host:port` of the gateway, or any other name that gRPC resolves.
            timeout: seconds until a call fails with `DeadlineExceeded`.
            credentials: for TLS, as from `grpc.ssl_channel_credentials()`; plain text without.
            metadata: headers sent with every call; keys are lower case.
            options: more gRPC channel options; they win over the client's own.
        """
        self._timeout = timeout
        self._metadata = tuple(metadata)
        channel: Channel = open_channel(address, credentials, channel_options(list(options)))
        self._channel = channel
        self._collections = CollectionServiceStub(channel)
        self._documents = DocumentServiceStub(channel)
        self._encoder = EncodeServiceStub(channel)
        self._models = ModelServiceStub(channel)
        self._searcher = SearchServiceStub(channel)

    async def close(self) -> None:
        """Ends the calls under way and frees the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def wait_ready(self, timeout: float = 30.0) -> None:
        """Waits until the gateway answers and says that it serves.

        Raises:
            DeadlineExceeded: it did not within `timeout` seconds.
            SparsegateError: who answers is not a gateway, or refuses the caller.
        """
        check: UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(
            _HEALTH_CHECK, request_serializer=None, response_deserializer=None
        )
        deadline = time.monotonic() + timeout
        while (remaining := deadline - time.monotonic()) > 0:
            try:
                if await check(_WHOLE_SERVER, timeout=remaining, wait_for_ready=True) == _SERVING:
                    return
            except grpc.RpcError as error:
                cause = error_from_call(error)
                # A proxy may say so for as long as the gateway behind it starts.
                if not isinstance(cause, (DeadlineExceeded, Unavailable)):
                    raise cause from error
            await sleep(0.05)
        raise DeadlineExceeded(
            f"the gateway was not ready within {timeout:g} s: check that it runs at this address, "
            "and what its log says of its models"
        )

    async def _call(
        self,
        method: UnaryUnaryMultiCallable[Request, Reply],
        request: Request,
        options: CallOptions,
    ) -> Reply:
        request_id, metadata = self._headers(options)
        try:
            return await method(
                request, timeout=options.get("timeout", self._timeout), metadata=metadata
            )
        except grpc.RpcError as error:
            raise error_from_call(error, request_id) from error

    def _headers(self, options: CallOptions) -> tuple[str, tuple[tuple[str, str], ...]]:
        """The request's id, and all its headers.

        Raises:
            InvalidArgument: a header cannot carry the id.
        """
        request_id = _requests.request_id(options.get("request_id")) or uuid.uuid4().hex
        own = tuple(options.get("metadata", ()))
        return request_id, (*self._metadata, *own, ("x-request-id", request_id))
