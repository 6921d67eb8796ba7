"""Which class encodes which family."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sparsegate_server.encoders.base import Encoder
from sparsegate_server.encoders.gate import BatchGate
from sparsegate_server.encoders.splade import SpladeEncoder
from sparsegate_server.encoders.tokenizer import ModelTokenizer
from sparsegate_server.inference.base import InferenceBackend
from sparsegate_server.models.spec import Family, ModelSpec
from sparsegate_server.settings import Settings

_FAMILIES: dict[Family, type[SpladeEncoder]] = {"splade": SpladeEncoder}

_TRITON_BATCHES = 16
"""Batches in flight to Triton: enough that its dynamic batcher finds some to join."""


def build_gate(settings: Settings) -> BatchGate:
    """The queue before the backend; one for all models, because they share its cores.

    What is in Triton's own queue cannot be overtaken, so that bulk may fill only a quarter of the
    places there. In this process a place is a core, and bulk may have them all.
    """
    inference = settings.inference
    remote = inference.backend == "triton"
    own = _TRITON_BATCHES if remote else os.cpu_count() or 1
    places = inference.max_concurrent_batches or own
    bulk = max(1, places // 4) if remote else places
    return BatchGate(places, inference.max_waiting_batches, bulk=bulk)


def build_encoder(
    spec: ModelSpec,
    folder: Path,
    backend: InferenceBackend,
    settings: Settings,
    gate: BatchGate | None = None,
) -> Encoder:
    """The encoder of one model.

    Args:
        folder: the model's folder in the model repository.
        gate: shared with other encoders of the same backend; a new one when None.

    Raises:
        ModelSourceError: the tokenizer is missing or is not the model's.
    """
    return _FAMILIES[spec.identity.family](
        spec,
        ModelTokenizer(folder, spec),
        backend,
        gate or build_gate(settings),
        settings.inference.max_batch_size,
    )


def build_encoders(
    specs: Sequence[ModelSpec], backend: InferenceBackend, settings: Settings
) -> dict[str, Encoder]:
    """The encoders of all models by name, behind one queue. Raises as `build_encoder` does."""
    gate = build_gate(settings)
    repository = settings.models.repository
    return {
        spec.name: build_encoder(spec, repository / spec.name, backend, settings, gate)
        for spec in specs
    }
