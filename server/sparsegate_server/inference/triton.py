"""Runs graphs on Triton servers over gRPC: balanced, tried again, and found when they are back."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.errors import (
    FingerprintMismatch,
    InferenceUnavailable,
    ModelNotFound,
    SparsegateError,
)
from sparsegate_server.inference.balancer import Balancer
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.circuit import LOAD_SECONDS, Circuit
from sparsegate_server.inference.endpoint import Endpoint
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_SOONEST_RETRY = 0.1


class TritonBackend:
    """Several servers that serve the same models; must be made inside a running event loop.

    A batch goes to the server with the fewest tokens under way. One that did not run because its
    server was away goes again, on another server at once or on the same one after a pause, as long
    as its time and its attempts last: a batch changes nothing, so that it may run twice. A server
    that keeps failing is set aside and probed until it is back; when all are, calls fail at once.

    Args:
        urls: host:port of each server's gRPC endpoint.
        timeout: longest wait for one batch, in seconds, when the caller names none.
        max_attempts: how often one batch is sent at most.
        metrics: told which servers are set aside.
    """

    name = "triton"
    side_by_side = False

    def __init__(
        self,
        urls: Sequence[str],
        *,
        timeout: float = 30.0,
        max_attempts: int = 4,
        metrics: Metrics | None = None,
    ) -> None:
        self._timeout = timeout
        self._max_attempts = max_attempts
        self._metrics = metrics or Metrics()
        self._endpoints = [Endpoint(url) for url in urls]
        self._balancer = Balancer(len(urls))
        self._circuits: dict[tuple[str, str], list[Circuit]] = {}
        self._ordered: set[str] = set()
        # Who has begun to list the models may still ask for one that is gone: it must not be
        # watched over again, for nobody would end that.
        self._unloaded: set[tuple[str, str]] = set()

    async def infer(
        self, spec: ModelSpec, batch: TokenBatch, *, timeout: float | None = None
    ) -> Mapping[str, NDArray[np.generic]]:
        """See `InferenceBackend.infer`.

        Raises:
            FingerprintMismatch: every server's model is another one under the same name.
            Overloaded: the server's own queue is full.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._timeout if timeout is None else min(timeout, self._timeout))
        circuits = self._of(spec)
        failed: set[int] = set()
        for attempt in range(1, self._max_attempts + 1):
            at = self._balancer.choose(_usable(circuits) - failed)
            try:
                with self._balancer.carrying(at, batch.input_ids.size):
                    return await circuits[at].infer(batch, deadline - loop.time())
            except (InferenceUnavailable, ModelNotFound, FingerprintMismatch):
                failed.add(at)
                pause = 0.0 if _usable(circuits) - failed else _pause(attempt)
                if attempt == self._max_attempts or loop.time() + pause >= deadline:
                    raise
                if pause:
                    failed.clear()
                    await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def ready(self, spec: ModelSpec) -> bool:
        """Whether each graph of the model is served by any of the servers, which answers now."""
        return all(await asyncio.gather(*map(self._any_ready, _graphs(spec))))

    async def load(self, spec: ModelSpec) -> None:
        """See `InferenceBackend.load`. Every server gets the order; a server that is away gets it
        when it is back.

        Raises:
            FingerprintMismatch: a server reads another repository, with another model there.
        """
        new = [graph for graph in _graphs(spec) if graph.name not in self._ordered]
        try:
            for graph in _graphs(spec):
                await self._load_everywhere(graph)
        except SparsegateError:
            for graph in new:
                await self._unload_everywhere(graph)
            raise
        self._unloaded.difference_update(map(_key, _graphs(spec)))

    async def unload(self, spec: ModelSpec, *, successor: ModelSpec | None = None) -> None:
        """See `InferenceBackend.unload`. The servers keep what they had without an order of ours,
        because others may be using it."""
        kept = successor.served_names if successor is not None else ()
        for graph in _graphs(spec):
            if graph.name not in kept:
                self._unloaded.add(_key(graph))
                await self._unload_everywhere(graph)
            elif successor is not None and successor.fingerprint != spec.fingerprint:
                self._unloaded.add(_key(graph))
                await self._forget(graph.name, spec.fingerprint)

    async def close(self) -> None:
        for circuits in self._circuits.values():
            for circuit in circuits:
                await circuit.close()
        for endpoint in self._endpoints:
            await endpoint.close()

    async def _load_everywhere(self, graph: ModelSpec) -> None:
        orders = [endpoint.load(graph, LOAD_SECONDS) for endpoint in self._endpoints]
        outcomes = await asyncio.gather(*orders, return_exceptions=True)
        failures = [outcome for outcome in outcomes if outcome is not None]
        lasting = [each for each in failures if not isinstance(each, InferenceUnavailable)]
        if lasting or len(failures) == len(outcomes):
            raise (lasting or failures)[0]
        self._ordered.add(graph.name)
        # What was known of it belongs to the time before.
        await self._forget(graph.name, graph.fingerprint)

    async def _unload_everywhere(self, graph: ModelSpec) -> None:
        self._ordered.discard(graph.name)
        await self._forget(graph.name, graph.fingerprint)
        orders = [endpoint.unload(graph, LOAD_SECONDS) for endpoint in self._endpoints]
        for failure in await asyncio.gather(*orders, return_exceptions=True):
            if failure is not None:
                logger.warning(
                    "model not unloaded", extra={"model": graph.name, "error": str(failure)}
                )

    async def _forget(self, name: str, fingerprint: str) -> None:
        circuits = self._circuits.pop((name, fingerprint), ())
        # A model that replaces another has circuits already when the other's are forgotten.
        if not any(graph == name for graph, _ in self._circuits):
            for endpoint in self._endpoints:
                self._metrics.endpoint_forgotten(endpoint.url, name)
        for circuit in circuits:
            await circuit.close()

    async def _any_ready(self, spec: ModelSpec) -> bool:
        if _key(spec) in self._unloaded:
            return False
        # A server that stands still takes seconds to be seen; the answer of another will do.
        looks = {circuit.look() for circuit in self._of(spec)}
        while looks:
            done, looks = await asyncio.wait(looks, return_when=asyncio.FIRST_COMPLETED)
            if any(not look.cancelled() and look.result() for look in done):
                return True
        return False

    def _of(self, spec: ModelSpec) -> list[Circuit]:
        """The model's circuits, one for each server.

        Raises:
            ModelNotFound: it has been unloaded.
        """
        key = _key(spec)
        if key in self._unloaded:
            raise ModelNotFound(f"model {spec.name!r} is not loaded", metadata={"model": spec.name})
        if key not in self._circuits:
            ordered = spec.name in self._ordered
            self._circuits[key] = [
                Circuit(endpoint, spec, ordered=ordered) for endpoint in self._endpoints
            ]
            for at, endpoint in enumerate(self._endpoints):
                is_set_aside = partial(self._set_aside, at, spec.name)
                self._metrics.endpoint_watched(endpoint.url, spec.name, is_set_aside)
        return self._circuits[key]

    def _set_aside(self, at: int, name: str) -> bool:
        """Whether a server is not asked for a graph now; from any thread."""
        circuits = [each for (graph, _), each in list(self._circuits.items()) if graph == name]
        return any(not each[at].breaker.closed for each in circuits)


def _graphs(spec: ModelSpec) -> list[ModelSpec]:
    """The spec of each graph of a model."""
    return [replace(spec, name=name) for name in spec.served_names]


def _key(graph: ModelSpec) -> tuple[str, str]:
    """What tells a graph from that of a model which had or will have the same name."""
    return graph.name, graph.fingerprint


def _usable(circuits: Sequence[Circuit]) -> set[int]:
    """The positions of the servers that may be asked.

    Raises:
        SparsegateError: none may; the error is that of the server that may be back soonest.
    """
    usable = {at for at, circuit in enumerate(circuits) if circuit.breaker.closed}
    if not usable:
        raise _refusal(circuits)
    return usable


def _refusal(circuits: Sequence[Circuit]) -> SparsegateError:
    """Why no server is asked. What may pass by itself is told before what somebody must mend."""
    breakers = [circuit.breaker for circuit in circuits]
    causes = [breaker.cause for breaker in breakers if breaker.cause is not None]
    passing = [cause for cause in causes if isinstance(cause, InferenceUnavailable)]
    cause = (passing or causes)[0]
    retry_after = max(_SOONEST_RETRY, min(breaker.retry_after for breaker in breakers))
    return type(cause)(cause.message, metadata=cause.metadata, retry_after=retry_after)


def _pause(attempt: int) -> float:
    """Seconds before a server that has just failed is asked again; no two callers wait alike."""
    longest = min(_FIRST_PAUSE * 2.0 ** (attempt - 1), _LONGEST_PAUSE)
    return random.uniform(longest / 2, longest)  # noqa: S311
