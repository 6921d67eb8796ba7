"""One model on one Triton server: whether it is asked at all, and how it is found to be back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

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
from sparsegate_server.inference.breaker import Breaker
from sparsegate_server.inference.endpoint import Endpoint
from sparsegate_server.inference.failures import (
    ModelDied,
    OutOfSharedMemory,
    Unloaded,
    away,
    hung,
    unloaded,
)
from sparsegate_server.models.spec import ModelSpec

T = TypeVar("T")

logger = logging.getLogger(__name__)

PROBE_SECONDS = 3.0
"""How long a server may take to say that it is there."""

LOAD_SECONDS = 120.0
"""How long a server may take to load a model."""

CHECK_SECONDS = 1.0
"""A server that lets deadlines pass is looked at, but not more often than this."""

FAIR_SECONDS = 1.0
"""A batch that had less time than this and got no answer says nothing against the server."""


class Circuit:
    """A circuit breaker around one model of one server.

    The breaker opens after consecutive failures, and after a check that fails; then the model is
    probed in the background until a small batch runs. Several models of one server have a circuit
    each, because one of them may be unloaded while the others serve.

    Args:
        ordered: whether the server has the model by order. A server that has been started again
            without it is given the order again.
    """

    def __init__(self, endpoint: Endpoint, spec: ModelSpec, *, ordered: bool = False) -> None:
        self._endpoint = endpoint
        self._spec = spec
        self._ordered = ordered
        self._loop = asyncio.get_running_loop()
        self.breaker = Breaker(self._loop.time)
        self._probing: asyncio.Task[None] | None = None
        self._checking: asyncio.Task[bool] | None = None
        self._looked_at = -CHECK_SECONDS
        self._closed = False

    async def infer(self, batch: TokenBatch, seconds: float) -> dict[str, NDArray[np.generic]]:
        """See `Endpoint.infer`; the outcome is noted. Ask only while the breaker is closed."""
        ticket = self.breaker.enter()
        try:
            arrays = await self._asked(self._endpoint.infer(self._spec, batch, seconds))
        except (InferenceFailed, Overloaded, OutOfSharedMemory):
            self.breaker.succeeded(ticket)  # It answers, and that is what counts here.
            raise
        except (ModelNotFound, FingerprintMismatch, ModelDied, Unloaded) as error:
            # Known for certain at the first time.
            self.breaker.probe_failed(error)
            raise
        except InferenceUnavailable as error:
            self.breaker.failed(ticket, error)
            raise
        except DeadlineExceeded:
            if seconds >= FAIR_SECONDS:
                self.breaker.failed(ticket, hung(self._endpoint.url, seconds))
            if self._loop.time() - self._looked_at >= CHECK_SECONDS:
                self.look()
            raise
        else:
            self.breaker.succeeded(ticket)
            return arrays
        finally:
            self._probe_if_open()

    def look(self) -> asyncio.Task[bool]:
        """Looks whether the server answers now and serves this very model, unless that is known.

        Returns:
            The task, shared by all who look at the same time. It never raises.
        """
        if self._checking is None or self._checking.done():
            self._looked_at = self._loop.time()
            self._checking = _start(self._look())
        return self._checking

    async def close(self) -> None:
        self._closed = True
        tasks = [task for task in (self._probing, self._checking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> bool:
        if not self.breaker.closed:
            return False
        try:
            await self._ask(probe=None)
        except SparsegateError as error:
            self.breaker.probe_failed(error)
            self._probe_if_open()
        return self.breaker.closed

    def _probe_if_open(self) -> None:
        if not self.breaker.closed and self._probing is None and not self._closed:
            self._tell("inference endpoint set aside")
            self._probing = _start(self._probe())

    async def _probe(self) -> None:
        """Probes until the model is back; the only one to do so."""
        # Not a request only, but a batch: a server may be there whose models stand still.
        probe = _small(self._spec)
        while not self.breaker.closed:
            await asyncio.sleep(self.breaker.retry_after)
            if isinstance(self.breaker.cause, ModelDied):
                await self._load(self._endpoint.reload)
            elif isinstance(self.breaker.cause, Unloaded):
                await self._load(self._endpoint.load)
            self.breaker.begin_probe()
            try:
                await self._ask(probe)
            except SparsegateError as error:
                self.breaker.probe_failed(error)
            else:
                self.breaker.probe_succeeded()
        self._probing = None
        self._tell("inference endpoint is back")

    async def _load(self, order: Callable[[ModelSpec, float], Awaitable[None]]) -> None:
        try:
            await order(self._spec, LOAD_SECONDS)
        except SparsegateError as error:
            self._tell("model was not loaded anew", error)
        else:
            self._tell("model loaded anew")

    async def _ask(self, probe: TokenBatch | None) -> None:
        """Asks for the model, and for a batch where there is one. Raises as `Endpoint.infer`."""
        until = self._loop.time() + PROBE_SECONDS
        try:
            await self._check()
            if probe is not None:
                left = until - self._loop.time()
                await self._asked(self._endpoint.infer(self._spec, probe, left))
        except Overloaded:
            return  # It is there, and has its hands full.
        except DeadlineExceeded:
            raise hung(self._endpoint.url, PROBE_SECONDS) from None
        except SparsegateError:
            raise
        except Exception as error:
            # Whatever happened, this probe must not be the last one.
            logger.exception("unexpected error of a probe")
            raise away(self._endpoint.url, str(error)) from error

    async def _check(self) -> None:
        try:
            await self._asked(self._endpoint.check(self._spec, PROBE_SECONDS))
        except DeadlineExceeded:
            # Nothing comes of this connection any more. Where only a batch gets no answer, it is
            # the model that stands still, and the server's others go on working over it.
            await self._endpoint.reconnect()
            raise

    async def _asked(self, call: Awaitable[T]) -> T:
        """What a server had by order and has no more, it will have again."""
        try:
            return await call
        except ModelNotFound as error:
            if not self._ordered:
                raise
            raise unloaded(self._endpoint.url, self._spec.name) from error

    def _tell(self, what: str, error: SparsegateError | None = None) -> None:
        cause = error or self.breaker.cause
        logger.warning(
            what,
            extra={
                "url": self._endpoint.url,
                "model": self._spec.name,
                **({"cause": cause.message} if cause else {}),
            },
        )


def _start(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task outside the context of the request that happened to start it, whose id its log lines
    must not bear."""
    return asyncio.create_task(work, context=Context())


def _small(spec: ModelSpec) -> TokenBatch:
    """One row of the model's shortest length with one token, whatever its vocabulary."""
    ids = np.zeros((1, spec.length_buckets[0]), np.int32)
    mask = ids.copy()
    mask[0, 0] = 1
    return TokenBatch(ids, mask)
