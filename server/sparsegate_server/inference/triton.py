"""Runs graphs on a Triton server over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from sparsegate_server.errors import (
    DeadlineExceeded,
    FingerprintMismatch,
    InferenceFailed,
    InferenceUnavailable,
    ModelNotFound,
    Overloaded,
    SparsegateError,
)
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.models.repository import FINGERPRINT_PARAMETER
from sparsegate_server.models.spec import ModelSpec

_OUTPUTS = {"terms": ("indices", "values"), "logits": ("logits",)}
_READY_SECONDS = 2.0
_RETRY_SECONDS = 1.0

_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that comes back is found within a second; gRPC's own back-off grows to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class TritonBackend:
    """One channel to one server; must be made inside a running event loop.

    Before a model's first batch, and again after the server was away, its fingerprint is compared
    with the spec's, so that a server with other weights is found out.

    Args:
        url: host:port of Triton's gRPC endpoint.
        timeout: longest wait for one batch, in seconds, when the caller names none.
    """

    name = "triton"

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self._url = url
        self._timeout = timeout
        self._client = triton.InferenceServerClient(url, channel_args=_CHANNEL)
        self._verified: set[str] = set()

    async def infer(
        self, spec: ModelSpec, batch: TokenBatch, *, timeout: float | None = None
    ) -> Mapping[str, NDArray[np.generic]]:
        """See `InferenceBackend.infer`.

        Raises:
            FingerprintMismatch: the server's model is another one under the same name.
            Overloaded: the server's own queue is full.
        """
        seconds = self._timeout if timeout is None else min(timeout, self._timeout)
        names = _OUTPUTS[spec.output]
        try:
            async with asyncio.timeout(seconds):
                await self._verify(spec)
                reply = await self._client.infer(
                    spec.name,
                    [
                        _input("input_ids", batch.input_ids),
                        _input("attention_mask", batch.attention_mask),
                    ],
                    outputs=[triton.InferRequestedOutput(name) for name in names],
                    client_timeout=seconds,
                )
        except TimeoutError:
            raise DeadlineExceeded(f"Triton gave no answer within {seconds:.1f} s") from None
        except (InferenceServerException, grpc.RpcError) as error:
            raise self._translate(spec, error) from error
        arrays = {name: reply.as_numpy(name) for name in names}
        for name, array in arrays.items():
            if array is None or len(array) != len(batch.input_ids):
                raise InferenceFailed(f"Triton's reply for model {spec.name!r} lacks {name!r}")
        return arrays

    async def ready(self, spec: ModelSpec) -> bool:
        try:
            async with asyncio.timeout(_READY_SECONDS):
                if not await self._client.is_model_ready(spec.name):
                    return False
                # Since the last look, another server may have come to this address.
                self._verified.discard(spec.name)
                await self._verify(spec)
        except (TimeoutError, InferenceServerException, grpc.RpcError, SparsegateError):
            return False
        return True

    async def close(self) -> None:
        await self._client.close()

    async def _verify(self, spec: ModelSpec) -> None:
        if spec.name in self._verified:
            return
        reply: Any = await self._client.get_model_config(spec.name)
        served = reply.config.parameters[FINGERPRINT_PARAMETER].string_value
        if served != spec.fingerprint:
            raise FingerprintMismatch(
                f"Triton at {self._url} serves {spec.name!r} with fingerprint {served or 'none'}, "
                f"not {spec.fingerprint}: export the model again and restart Triton",
                metadata={"model": spec.name},
            )
        self._verified.add(spec.name)

    def _translate(self, spec: ModelSpec, error: Exception) -> SparsegateError:
        """An error of our tree for what the client library raised."""
        status, text = _status(error)
        where = f"Triton at {self._url}"
        match status:
            case "UNAVAILABLE" if "exceeds maximum queue size" in text.lower():
                return Overloaded(f"{where} has a full queue", retry_after=_RETRY_SECONDS)
            case "NOT_FOUND":
                return ModelNotFound(
                    f"{where} does not serve model {spec.name!r}", metadata={"model": spec.name}
                )
            case "DEADLINE_EXCEEDED":
                return DeadlineExceeded(f"{where} gave no answer in time")
            case "UNAVAILABLE" | "CANCELLED" | "UNKNOWN":
                # Whoever answers next at this address may be another server.
                self._verified.clear()
                return InferenceUnavailable(f"{where} is away: {text}", retry_after=_RETRY_SECONDS)
            case _:
                return InferenceFailed(f"{where} failed on model {spec.name!r}: {text}")


def _input(name: str, array: NDArray[np.int32]) -> Any:
    tensor = triton.InferInput(name, array.shape, "INT32")
    tensor.set_data_from_numpy(np.ascontiguousarray(array, np.int32))
    return tensor


def _status(error: Exception) -> tuple[str, str]:
    """The name of the gRPC status and the message."""
    if isinstance(error, InferenceServerException):
        return str(error.status() or "").removeprefix("StatusCode."), str(error.message())
    code = getattr(error, "code", lambda: None)()
    return getattr(code, "name", ""), str(error)
