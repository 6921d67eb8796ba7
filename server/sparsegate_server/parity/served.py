"""Graphs that an inference server runs, for code that has threads and no event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sparsegate_server.errors import InferenceUnavailable
from sparsegate_server.inference.base import InferenceBackend, TokenBatch
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.parity.vectors import Outputs, Run

T = TypeVar("T")


class ServedGraphs:
    """Calls of an `InferenceBackend` from any thread; `connect` makes them."""

    def __init__(self, backend: InferenceBackend, loop: asyncio.AbstractEventLoop) -> None:
        self.name = backend.name
        self._backend = backend
        self._loop = loop

    def graph(self, spec: ModelSpec) -> Run:
        """The graph of the spec's name. What it returns raises as `InferenceBackend.infer` does.

        Raises:
            InferenceUnavailable: the server does not have it, or cannot be reached.
        """
        if not _wait(self._loop, self._backend.ready(spec)):
            raise InferenceUnavailable(
                f"the inference server is not there or does not serve {spec.name!r}: start it with "
                "this model repository and this model"
            )

        def run(batch: TokenBatch) -> Outputs:
            return _wait(self._loop, self._backend.infer(spec, batch))

        return run


@contextmanager
def connect(make: Callable[[], InferenceBackend]) -> Iterator[ServedGraphs]:
    """Runs an event loop in a thread of its own, with the backend that `make` makes in it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="parity", daemon=True)
    thread.start()
    try:
        backend = _wait(loop, _in_loop(make))
        try:
            yield ServedGraphs(backend, loop)
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
