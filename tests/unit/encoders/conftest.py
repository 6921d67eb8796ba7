"""Encoders over made-up inference: the real tokenizer, no model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sparsegate_server.encoders.batcher import Batcher, Places
from sparsegate_server.encoders.batching import BatchRules
from sparsegate_server.encoders.splade import SpladeEncoder
from sparsegate_server.encoders.tokenizer import ModelTokenizer
from sparsegate_server.inference.base import InferenceBackend
from sparsegate_server.inference.dummy import DummyBackend
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.telemetry.metrics import Metrics

MakeEncoder = Callable[..., SpladeEncoder]


@pytest.fixture(scope="session")
def folder(model_repository: Path) -> Path:
    return model_repository / "splade-tiny"


@pytest.fixture(scope="session")
def spec(folder: Path) -> ModelSpec:
    return ModelSpec.load(folder)


@pytest.fixture(scope="session")
def tokenizer(folder: Path, spec: ModelSpec) -> ModelTokenizer:
    return ModelTokenizer(folder, spec)


@pytest.fixture
def make_encoder(spec: ModelSpec, tokenizer: ModelTokenizer) -> MakeEncoder:
    def make(
        backend: InferenceBackend | None = None,
        *,
        spec: ModelSpec = spec,
        in_flight: int = 2,
        waiting: int = 100_000,
        max_batch_size: int = 4,
    ) -> SpladeEncoder:
        batcher = Batcher(
            backend or DummyBackend(),
            BatchRules(max_batch_size, 4096, step=0, overhead=0),
            BatchRules(max_batch_size, 4096, step=0, overhead=0),
            Places(in_flight, in_flight, kept=0),
            waiting,
            Metrics(),
        )
        return SpladeEncoder(spec, tokenizer, batcher)

    return make
