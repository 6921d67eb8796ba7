"""Runs graphs in this process with onnxruntime: the embedded default."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

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
from sparsegate_server.models.signature import FINGERPRINT_KEY
from sparsegate_server.models.spec import ModelSpec

GRAPH_FILE = "1/model.onnx"

_Key: TypeAlias = tuple[str, str, str, str, bool]
"""What tells a graph from that of a model which had or will have the same name."""


class OnnxGraph:
    """One loaded graph.

    Args:
        threads: of one batch.
        fingerprint: of the model that it must be of; empty for whatever lies there.

    Raises:
        ModelSourceError: the file is missing, no graph that onnxruntime understands, or that of
            another model.
    """

    def __init__(self, file: Path, threads: int = 1, *, fingerprint: str = "") -> None:
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
        found = self._session.get_modelmeta().custom_metadata_map.get(FINGERPRINT_KEY, "")
        if fingerprint and found != fingerprint:
            raise ModelSourceError(
                f"{file} is the graph of a model with fingerprint {found or 'none'}, not "
                f"{fingerprint}: its vectors would mean something else; export the model again"
            )
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
        workers: batches of queries that run side by side, and as many of bulk; 0 means one a core.

    Raises:
        ModelSourceError: a graph is missing, not understood, or another model's.
    """

    name = "onnx"
    side_by_side = True

    def __init__(
        self, repository: Path, specs: Sequence[ModelSpec], *, threads: int = 1, workers: int = 0
    ) -> None:
        self._repository = repository
        self._intra_threads = threads
        self._graphs: dict[_Key, OnnxGraph] = {}
        for spec in specs:
            self._graphs |= self._read(spec)
        workers = workers or os.cpu_count() or 1
        self._threads = ThreadPoolExecutor(2 * workers, "onnx")
        self._closed = False

    async def infer(
        self, spec: ModelSpec, batch: TokenBatch, *, timeout: float | None = None
    ) -> Mapping[str, NDArray[np.generic]]:
        """See `InferenceBackend.infer`. A batch that has begun runs to its end, unwaited for."""
        graph = self._graphs.get(_key(spec, spec.name))
        if graph is None:
            raise ModelNotFound(f"model {spec.name!r} is not loaded", metadata={"model": spec.name})
        if self._closed:
            raise InferenceUnavailable("in-process inference has been closed")
        running = asyncio.get_running_loop().run_in_executor(self._threads, graph.run, batch)
        try:
            return await asyncio.wait_for(running, timeout)
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed while the model was at work") from None

    async def ready(self, spec: ModelSpec) -> bool:
        return not self._closed and self._graphs.keys() >= _keys(spec)

    async def load(self, spec: ModelSpec) -> None:
        """See `InferenceBackend.load`. Batches that have begun end with the graph they have."""
        graphs = await asyncio.to_thread(self._read, spec)
        if self._closed:
            raise InferenceUnavailable("in-process inference has been closed")
        self._graphs |= graphs

    async def unload(self, spec: ModelSpec, *, successor: ModelSpec | None = None) -> None:
        kept = _keys(successor) if successor is not None else frozenset()
        dropped = [self._graphs.pop(key, None) for key in _keys(spec) - kept]
        # What a session holds may take a while to be given back.
        await asyncio.to_thread(dropped.clear)

    async def close(self) -> None:
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)

    def _read(self, spec: ModelSpec) -> dict[_Key, OnnxGraph]:
        return {
            _key(spec, name): OnnxGraph(
                self._repository / name / GRAPH_FILE,
                self._intra_threads,
                fingerprint=spec.fingerprint,
            )
            for name in spec.served_names
        }


def _key(spec: ModelSpec, name: str) -> _Key:
    return name, spec.fingerprint, spec.output, spec.precision, spec.positions


def _keys(spec: ModelSpec) -> frozenset[_Key]:
    return frozenset(_key(spec, name) for name in spec.served_names)
