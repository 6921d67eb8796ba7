"""Runs graphs in this process with onnxruntime: the embedded default."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from sparsegate_server.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InferenceUnavailable,
    ModelNotFound,
    ModelSourceError,
)
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.models.spec import ModelSpec

GRAPH_FILE = "1/model.onnx"


class OnnxGraph:
    """One loaded graph.

    Raises:
        ModelSourceError: the file is missing or no graph that onnxruntime understands.
    """

    def __init__(self, file: Path, threads: int = 1) -> None:
        if not file.is_file():
            raise ModelSourceError(
                f"{file} does not exist: export the model with `sparsegate-server model export`"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
        # Onnxruntime's exceptions have no common base but this.
        except Exception as error:
            raise ModelSourceError(f"{file} cannot be loaded: {error}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, batch: TokenBatch) -> dict[str, NDArray[np.generic]]:
        """The graph's outputs by name; see `InferenceBackend`. Releases the GIL.

        Raises:
            InferenceFailed: with onnxruntime's own words.
        """
        feed = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        try:
            arrays = self._session.run(self._outputs, feed)
        except Exception as error:
            raise InferenceFailed(f"onnxruntime failed: {error}") from error
        return dict(zip(self._outputs, arrays, strict=True))


class OnnxBackend:
    """Graphs of a model repository, run in a thread pool of their own.

    Args:
        repository: folder with one folder a model.
        specs: models to load, all of them at once.
        threads: threads of one batch. With several batches at work, 1 is the fastest.
        workers: batches that run side by side; 0 means one a core.

    Raises:
        ModelSourceError: a graph is missing or not understood.
    """

    name = "onnx"

    def __init__(
        self, repository: Path, specs: Sequence[ModelSpec], *, threads: int = 1, workers: int = 0
    ) -> None:
        self._graphs = {
            spec.name: OnnxGraph(repository / spec.name / GRAPH_FILE, threads) for spec in specs
        }
        self._pool = ThreadPoolExecutor(workers or os.cpu_count() or 1, "onnx")
        self._closed = False

    async def infer(
        self, spec: ModelSpec, batch: TokenBatch, *, timeout: float | None = None
    ) -> Mapping[str, NDArray[np.generic]]:
        """See `InferenceBackend.infer`. A batch that has begun runs to its end, unwaited for."""
        graph = self._graphs.get(spec.name)
        if graph is None:
            raise ModelNotFound(f"model {spec.name!r} is not loaded", metadata={"model": spec.name})
        if self._closed:
            raise InferenceUnavailable("in-process inference has been closed")
        running = asyncio.get_running_loop().run_in_executor(self._pool, graph.run, batch)
        try:
            return await asyncio.wait_for(running, timeout)
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed while the model was at work") from None

    async def ready(self, spec: ModelSpec) -> bool:
        return not self._closed and spec.name in self._graphs

    async def close(self) -> None:
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown)
