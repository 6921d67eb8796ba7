"""A torch model with a fused head, and without one where the kernel is not for it or fails."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsegate_server.models.export import identity_of
from sparsegate_server.models.recipe import Recipe
from sparsegate_server.models.spec import Activation, ModelSpec, Output, Pooling, Precision

from . import bert_oracle
from .formulas import ACTIVATIONS, SPECIALS, TEXTS, dense, token_weights
from .torch_served import TOLERANCE, load, vectors

torch: Any = pytest.importorskip(
    "torch", reason="PyTorch is not installed: it belongs to Triton's Python"
)


@dataclass
class Logger:
    informed: list[str]
    warned: list[str]

    def log_info(self, text: str) -> None:
        self.informed.append(text)

    def log_warn(self, text: str) -> None:
        self.warned.append(text)


@pytest.fixture
def logger(executor: Any) -> Logger:
    logger = Logger([], [])
    executor.pb_utils.Logger = logger
    return logger


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the fused head, whose kernel Triton's interpreter runs."""
    if torch.cuda.is_available():
        pytest.skip("with a GPU, the kernel is compiled and takes nothing from the processor")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    pytest.importorskip("triton", reason="OpenAI's Triton is not installed")
    return import_module("sparsegate_server.models.fused_head")


interpreted = pytest.mark.filterwarnings(
    "ignore:Conversion of an array with ndim:DeprecationWarning"
)
"""The interpreter makes plain numbers of arrays of one."""


@interpreted
@pytest.mark.parametrize(
    ("activation", "output", "positions"),
    list(product(ACTIVATIONS, ("terms", "pooled"), [False, True])),
)
def test_a_fused_head_gives_the_weights_of_the_formula(
    executor: Any,
    logger: Logger,
    fused: Any,
    tmp_path: Path,
    activation: Activation,
    output: Output,
    positions: bool,
) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    identity = identity_of(checkpoint, Recipe("splade", "max", activation, drop_special=True))
    spec = ModelSpec("x", identity, output, "fp16", positions=positions)
    model = load(executor, tmp_path, checkpoint, spec)
    executor.fuse_head(model.encoder)
    assert isinstance(model.encoder.head, fused.FusedHead)
    assert logger == Logger([], [])
    near = TOLERANCE["fp16"]
    for text, row in zip(TEXTS, vectors(model, spec, TEXTS), strict=True):
        tokens = token_weights(checkpoint, text, activation)
        tokens[:, SPECIALS] = 0
        np.testing.assert_allclose(dense(row), tokens.max(axis=0), atol=near)
        assert (row.positions is not None) == positions
        if row.positions is not None:
            chosen = tokens[row.positions, row.vector.indices]
            np.testing.assert_allclose(chosen, dense(row)[row.vector.indices], atol=2 * near)


@interpreted
def test_a_row_of_padding_has_no_terms_with_a_fused_head(
    executor: Any, logger: Logger, fused: Any, tmp_path: Path
) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    spec = ModelSpec("x", identity_of(checkpoint), precision="fp16", positions=True)
    model = load(executor, tmp_path, checkpoint, spec)
    executor.fuse_head(model.encoder)
    empty, full = vectors(model, spec, [[], [2, 7, 3]])
    assert len(empty.vector.values) == 0
    (alone,) = vectors(model, spec, [[2, 7, 3]])
    np.testing.assert_allclose(dense(full), dense(alone), atol=TOLERANCE["fp16"])


@pytest.mark.parametrize(
    ("pooling", "output", "precision"),
    [("max", "terms", "fp32"), ("sum", "terms", "fp16"), ("max", "logits", "fp16")],
)
def test_models_that_the_fused_head_is_not_for_are_scored_in_blocks(
    executor: Any,
    logger: Logger,
    tmp_path: Path,
    pooling: Pooling,
    output: Output,
    precision: Precision,
) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    spec = ModelSpec("x", identity_of(checkpoint, Recipe("splade", pooling)), output, precision)
    model = load(executor, tmp_path, checkpoint, spec)
    executor.fuse_head(model.encoder)
    assert model.encoder.head is None
    assert len(logger.informed) == 1
    assert logger.warned == []


def breaks(*arguments: Any, **options: Any) -> Any:
    raise RuntimeError("PassManager::run failed")


@interpreted
@pytest.mark.parametrize("way", ["missing", "broken", "wrong"])
def test_whatever_becomes_of_the_kernel_the_model_is_served(
    executor: Any,
    logger: Logger,
    fused: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    spec = ModelSpec("x", identity_of(checkpoint), precision="fp16", positions=True)
    model = load(executor, tmp_path, checkpoint, spec)
    before = vectors(model, spec, TEXTS)
    run = fused.FusedHead.__call__
    match way:
        case "missing":
            monkeypatch.delitem(sys.modules, fused.__name__)
            monkeypatch.setitem(sys.modules, "triton", None)
        case "broken":
            monkeypatch.setattr(fused.FusedHead, "__call__", breaks)
        case "wrong":
            monkeypatch.setattr(
                fused.FusedHead, "__call__", lambda head, h, mask: (run(head, h, mask)[0] + 0.5, 0)
            )
    executor.fuse_head(model.encoder)
    assert model.encoder.head is None
    (warning,) = logger.warned
    assert "terms are scored in blocks" in warning
    assert {"missing": "triton", "broken": "PassManager", "wrong": "off by 0.5"}[way] in warning
    for found, expected in zip(vectors(model, spec, TEXTS), before, strict=True):
        np.testing.assert_array_equal(dense(found), dense(expected))
