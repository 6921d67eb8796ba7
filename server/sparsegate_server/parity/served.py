"""Graphs that an inference server runs, for code that has threads and no event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sparsegate_server.errors import InferenceUnavailable
from sparsegate_server.inference.base import InferenceBackend, TokenBatch
from sparsegate_server.models.spec import QUERY_SUFFIX, ModelSpec
from sparsegate_server.parity.vectors import Outputs, Run

T = TypeVar("T")


class ServedGraphs:
    """Calls of an `InferenceBackend` from any thread; `connect` makes them."""

    def __init__(
        self, backend: InferenceBackend, loop: asyncio.AbstractEventLoop, address: str = ""
    ) -> None:
        self.name = backend.name
        self._address = address
        self._backend = backend
        self._loop = loop

    def graph(self, spec: ModelSpec) -> Run:
        """The graph of the spec's name. What it returns raises as `InferenceBackend.infer` does.

        Raises:
            InferenceUnavailable: the server does not have it, or cannot be reached.
        """
        if not _wait(self._loop, self._backend.ready(spec)):
            raise InferenceUnavailable(
                f"no inference server answers at {self._address}, or it does not serve "
                f"{spec.name!r} as it was exported here. The port is that of gRPC (Triton's is "
                "8001, not 8000), and the server must have this model repository: "
                f"`sparsegate-server triton --model {spec.name.removesuffix(QUERY_SUFFIX)}` starts "
                "one here"
            )

        def run(batch: TokenBatch) -> Outputs:
            return _wait(self._loop, self._backend.infer(spec, batch))

        return run


@contextmanager
def connect(make: Callable[[], InferenceBackend], address: str = "") -> Iterator[ServedGraphs]:
    """Runs an event loop in a thread of its own, with the backend that `make` makes in it.

    Args:
        address: where its server is, for errors.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="parity", daemon=True)
    thread.start()
    try:
        backend = _wait(loop, _in_loop(make))
        try:
            yield ServedGraphs(backend, loop, address)
        finally:
            _wait(loop, backend.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _in_loop(make: Callable[[], InferenceBackend]) -> InferenceBackend:
    return make()


def _wait(loop: asyncio.AbstractEventLoop, doing: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(doing, loop).result()
