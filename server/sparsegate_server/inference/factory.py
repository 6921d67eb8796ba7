"""Chooses the inference backend that the settings name."""

from __future__ import annotations

from collections.abc import Sequence

from sparsegate_server.inference.base import InferenceBackend
from sparsegate_server.inference.dummy import DummyBackend
from sparsegate_server.inference.onnx import OnnxBackend
from sparsegate_server.inference.triton import TritonBackend
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.settings import Settings
from sparsegate_server.telemetry.metrics import Metrics


def build_backend(
    settings: Settings, specs: Sequence[ModelSpec], metrics: Metrics | None = None
) -> InferenceBackend:
    """Makes the backend, ready for `specs`; call it inside a running event loop.

    Args:
        metrics: told of servers that are set aside.

    Raises:
        ModelSourceError: `onnx` was chosen and a graph is missing or not understood.
    """
    match settings.inference.backend:
        case "triton":
            return TritonBackend(
                settings.triton.urls,
                timeout=settings.triton.timeout_seconds,
                max_attempts=settings.triton.max_attempts,
                metrics=metrics,
            )
        case "dummy":
            return DummyBackend()
        case "onnx":
            return OnnxBackend(
                settings.models.repository,
                specs,
                threads=settings.inference.threads or 1,
                workers=settings.inference.max_concurrent_batches,
            )
