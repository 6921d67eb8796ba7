"""One Triton server: its channel, what is asked of it, and what its failures mean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import grpc
import numpy as np
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from sparsegate_server.errors import FingerprintMismatch, InferenceFailed, SparsegateError
from sparsegate_server.inference import reply as replies
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.failures import (
    TakesNoOrders,
    away,
    late,
    translate,
    translate_load,
)
from sparsegate_server.models.signature import FINGERPRINT_KEY
from sparsegate_server.models.spec import ModelSpec

T = TypeVar("T")

LARGE_REPLY = 2**20
"""Numbers past which a reply is checked in a thread."""

_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that comes back is found within half a second; gRPC's own back-off grows to two
    # minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    # A connection that leads nowhere (the other machine is gone, or stands still) breaks, and the
    # calls on it fail, after the two together. gRPC sends two such pings at most while no data
    # flows, which Triton's defaults allow.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Else a new channel gets the connection of the old one, which is what it is to be rid of.
    ("grpc.use_local_subchannel_pool", 1),
]


class Endpoint:
    """One channel to one server; must be made inside a running event loop.

    Before a model's first batch, and again after the server was away, its fingerprint is compared
    with the spec's, so that a server with other weights is found out.

    Args:
        url: host:port of Triton's gRPC endpoint.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = triton.InferenceServerClient(url, channel_args=_CHANNEL)
        self._verified: set[tuple[str, str]] = set()
        self._ordered: set[str] = set()

    async def infer(
        self, spec: ModelSpec, batch: TokenBatch, seconds: float
    ) -> dict[str, NDArray[np.generic]]:
        """Runs one batch; Triton is told how long it may wait in its queue.

        Raises:
            InferenceUnavailable: the batch did not run and may go again.
            DeadlineExceeded: no answer within `seconds`.
            InferenceFailed: the model failed, or the reply is not what it should be.
            ModelNotFound, FingerprintMismatch: another model or none is served there.
            Overloaded: the server's own queue is full.
        """
        reply = await self._ask(spec, seconds, self._infer(spec, batch, seconds))
        try:
            arrays = {each.name: reply.as_numpy(each.name) for each in replies.expected(spec)}
        except (ValueError, TypeError, IndexError) as error:
            raise InferenceFailed(
                f"the reply of Triton at {self.url} cannot be read ({error}): check that its "
                "version fits, and that nothing between changes what it sends"
            ) from error
        if sum(array.size for array in arrays.values() if array is not None) > LARGE_REPLY:
            return await asyncio.to_thread(replies.check, spec, batch, arrays)
        return replies.check(spec, batch, arrays)

    async def check(self, spec: ModelSpec, seconds: float) -> None:
        """Returns when the server says that it serves this very model. Raises as `infer` does."""
        await self._ask(spec, seconds, self._check(spec))

    async def reload(self, spec: ModelSpec, seconds: float) -> None:
        """Has the server load a model anew. Raises as `infer` does, also where the server does not
        take such orders."""
        await self._ask(spec, seconds, self._reload(spec))

    async def load(self, spec: ModelSpec, seconds: float) -> None:
        """Has the server load a graph, or load it again where its files have changed. A server that
        takes no such orders may have it already.

        Raises:
            ModelLoadFailed: it did not, or does not take orders and does not have the graph.
            Otherwise as `infer` does.
        """
        try:
            await self._ask(spec, seconds, self._load(spec))
        except FingerprintMismatch:
            # It reads another repository, whose model of this name nobody here wants.
            await self.unload(spec, seconds)
            raise

    async def unload(self, spec: ModelSpec, seconds: float) -> None:
        """Has the server unload a graph, if it had it load by this gateway's order alone. Raises as
        `infer` does."""
        if spec.name in self._ordered:
            self._ordered.discard(spec.name)
            await self._ask(spec, seconds, self._unload(spec))

    async def reconnect(self) -> None:
        """Gives the connection up for a new one. Calls under way on it fail as if the server had
        gone, because nothing will come of them."""
        old = self._client
        self._client = triton.InferenceServerClient(self.url, channel_args=_CHANNEL)
        self._verified.clear()
        await old.close()

    async def close(self) -> None:
        await self._client.close()

    async def _ask(self, spec: ModelSpec, seconds: float, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(seconds):
                try:
                    return await call
                except (InferenceServerException, grpc.RpcError, grpc.aio.UsageError) as error:
                    raise await self._meaning(spec, error) from error
        except TimeoutError:
            raise late(self.url) from None
        except asyncio.CancelledError:
            if _cancelled():
                raise
            # Not we were cancelled, but the call: its channel has been closed.
            raise away(self.url, "the connection was given up") from None

    async def _meaning(self, spec: ModelSpec, error: Exception) -> SparsegateError:
        # Whoever answers next at this address may be another server.
        self._verified.clear()
        status, text = _status(error)
        if status == "NOT_FOUND" and await self._passing():
            return away(
                self.url,
                f"it is starting or stopping, or model {spec.name!r} has been unloaded there",
            )
        return translate(self.url, spec.name, status, text)

    async def _infer(self, spec: ModelSpec, batch: TokenBatch, seconds: float) -> Any:
        if not self._connected():
            self._verified.clear()
        if (spec.name, spec.fingerprint) not in self._verified:
            await self._verify(spec)
        return await self._client.infer(
            spec.name,
            [
                _input("input_ids", batch.input_ids),
                _input("attention_mask", batch.attention_mask),
            ],
            outputs=[triton.InferRequestedOutput(each.name) for each in replies.expected(spec)],
            client_timeout=seconds,
            # Obeyed where the model's queue policy has a default timeout and allows an override.
            timeout=max(1, int(seconds * 1e6)),
        )

    async def _check(self, spec: ModelSpec) -> None:
        # Since the last look, another server may have come to this address.
        await self._verify(spec)
        if not await self._client.is_model_ready(spec.name):
            raise away(self.url, f"model {spec.name!r} is not loaded there now")

    async def _reload(self, spec: ModelSpec) -> None:
        # Loading alone does nothing where the files are the same.
        await self._client.unload_model(spec.name)
        await self._client.load_model(spec.name)

    async def _load(self, spec: ModelSpec) -> None:
        there = await self._client.is_model_ready(spec.name)
        try:
            await self._client.load_model(spec.name)
        except InferenceServerException as error:
            failure = translate_load(self.url, spec.name, *_status(error))
            if not (there and isinstance(failure, TakesNoOrders)):
                raise failure from error
        else:
            if not there:
                self._ordered.add(spec.name)
        self._forget(spec)
        await self._verify(spec)

    async def _unload(self, spec: ModelSpec) -> None:
        self._forget(spec)
        await self._client.unload_model(spec.name)

    def _forget(self, spec: ModelSpec) -> None:
        """Whatever model of this name was compared with its spec may be another one now."""
        self._verified = {key for key in self._verified if key[0] != spec.name}

    async def _verify(self, spec: ModelSpec) -> None:
        reply: Any = await self._client.get_model_config(spec.name)
        served = reply.config.parameters[FINGERPRINT_KEY].string_value
        if served != spec.fingerprint:
            raise FingerprintMismatch(
                f"Triton at {self.url} serves {spec.name!r} with fingerprint {served or 'none'}, "
                f"not {spec.fingerprint}: export the model again and restart Triton",
                metadata={"model": spec.name, "given": served, "expected": spec.fingerprint},
            )
        self._verified.add((spec.name, spec.fingerprint))

    def _connected(self) -> bool:
        """Whether this call goes over a connection that is there. If not, the server may have been
        replaced since the last one, without any call that failed."""
        # Tritonclient has no other way to it.
        state = self._client._channel.get_state()
        return bool(state is grpc.ChannelConnectivity.READY)

    async def _passing(self) -> bool:
        """Whether the server has not all of its models now, and so perhaps will have this one."""
        try:
            return not await self._client.is_server_ready()
        except (InferenceServerException, grpc.RpcError, grpc.aio.UsageError):
            return True


def _cancelled() -> bool:
    """Whether this very task was asked to stop."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _input(name: str, array: NDArray[np.int32]) -> Any:
    tensor = triton.InferInput(name, array.shape, "INT32")
    tensor.set_data_from_numpy(np.ascontiguousarray(array, np.int32))
    return tensor


def _status(error: Exception) -> tuple[str, str]:
    """The name of the gRPC status and the message."""
    if isinstance(error, InferenceServerException):
        return str(error.status() or "").removeprefix("StatusCode."), str(error.message())
    if isinstance(error, grpc.aio.UsageError):
        return "UNAVAILABLE", "this gateway has closed the connection"
    code = getattr(error, "code", lambda: None)()
    return getattr(code, "name", ""), str(error)
