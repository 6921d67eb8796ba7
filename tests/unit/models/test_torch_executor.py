"""What Triton runs with PyTorch, against the formulas and against the ONNX graph."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sparsegate_server.encoders.sparsify import Row, rows
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.onnx import OnnxGraph
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.export import export_graph, identity_of
from sparsegate_server.models.recipe import Recipe
from sparsegate_server.models.signature import outputs_of
from sparsegate_server.models.spec import Activation, ModelSpec, Output, Pooling, Precision
from sparsegate_server.models.torch_weights import torch_weights

from . import bert_oracle

torch: Any = pytest.importorskip(
    "torch", reason="PyTorch is not installed: it belongs to Triton's Python"
)

TEXTS = [[2, 7, 9, 3], [2, 3], [2, 11, 12, 13, 14, 15, 16, 17, 18, 19, 3]]
POOLINGS: tuple[Pooling, ...] = ("max", "sum")
ACTIVATIONS: tuple[Activation, ...] = ("log1p", "log1p-twice")
OUTPUTS: tuple[Output, ...] = ("terms", "pooled", "logits")
TOLERANCE: dict[Precision, float] = {"fp32": 1e-5, "fp16": 0.01}
"""Of a token's weight; a sum over tokens may be off by as much for each."""
SPECIALS = [0, 1, 2, 3, 4]


@dataclass(frozen=True)
class Tensor:
    """As those of `triton_python_backend_utils`, which exists only inside Triton's stub."""

    name: str
    array: NDArray[Any]

    def as_numpy(self) -> NDArray[Any]:
        return self.array


@dataclass(frozen=True)
class TritonError:
    text: str


@dataclass(frozen=True)
class InferenceResponse:
    tensors: tuple[Tensor, ...] | list[Tensor] = ()
    error: TritonError | None = None


def get_input_tensor_by_name(request: dict[str, Tensor], name: str) -> Tensor:
    return request[name]


@dataclass
class Logger:
    informed: list[str]
    warned: list[str]

    def log_info(self, text: str) -> None:
        self.informed.append(text)

    def log_warn(self, text: str) -> None:
        self.warned.append(text)


@pytest.fixture(scope="module")
def executor() -> Iterator[Any]:
    """The module that Triton imports as a model's `model.py`."""
    utils: Any = ModuleType("triton_python_backend_utils")
    utils.Tensor, utils.TritonError = Tensor, TritonError
    utils.InferenceResponse = InferenceResponse
    utils.get_input_tensor_by_name = get_input_tensor_by_name
    sys.modules[utils.__name__] = utils
    yield import_module("sparsegate_server.models.torch_executor")
    del sys.modules[utils.__name__]


def load(executor: Any, folder: Path, checkpoint: Checkpoint, spec: ModelSpec) -> Any:
    """A model as Triton has loaded it from its folder, version 1."""
    file = folder / "1" / "model.safetensors"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(torch_weights(checkpoint, spec))
    model = executor.TritonPythonModel()
    model.initialize(
        {
            "model_config": json.dumps({"parameters": {"intra_op_threads": {"string_value": "1"}}}),
            "model_instance_kind": "CPU",
            "model_instance_device_id": "0",
            "model_repository": str(folder),
            "model_version": "1",
        }
    )
    return model


def batch(texts: list[list[int]], length: int = 16) -> TokenBatch:
    ids = np.zeros((len(texts), length), np.int32)
    mask = np.zeros_like(ids)
    for at, text in enumerate(texts):
        ids[at, : len(text)] = text
        mask[at, : len(text)] = 1
    return TokenBatch(ids, mask)


def request(tokens: TokenBatch) -> dict[str, Tensor]:
    return {
        "input_ids": Tensor("input_ids", tokens.input_ids),
        "attention_mask": Tensor("attention_mask", tokens.attention_mask),
    }


def vectors(model: Any, spec: ModelSpec, texts: list[list[int]]) -> list[Row]:
    """The vectors that the gateway makes of the model's reply to one request."""
    tokens = batch(texts)
    (reply,) = model.execute([request(tokens)])
    assert reply.error is None, reply.error
    return rows(spec, arrays_of(reply), tokens.attention_mask)


def arrays_of(reply: InferenceResponse) -> dict[str, NDArray[Any]]:
    return {tensor.name: tensor.array for tensor in reply.tensors}


def dense(row: Row, vocabulary: int = 50) -> NDArray[np.float64]:
    weights = np.zeros(vocabulary)
    weights[row.vector.indices] = row.vector.values
    return weights


def token_weights(
    checkpoint: Checkpoint, text: list[int], activation: Activation = "log1p"
) -> NDArray[np.float64]:
    """float64 [tokens, vocabulary]."""
    weights = np.log1p(np.maximum(bert_oracle.logits(checkpoint, text), 0))
    return np.log1p(weights) if activation == "log1p-twice" else weights


def pooled(weights: NDArray[np.float64], pooling: Pooling) -> NDArray[np.float64]:
    pooled: NDArray[np.float64] = weights.max(axis=0) if pooling == "max" else weights.sum(axis=0)
    return pooled


@pytest.mark.parametrize(
    ("pooling", "activation", "output", "precision"),
    list(product(POOLINGS, ACTIVATIONS, OUTPUTS, TOLERANCE)),
)
def test_weights_and_positions_are_those_of_the_formula(
    executor: Any,
    tmp_path: Path,
    pooling: Pooling,
    activation: Activation,
    output: Output,
    precision: Precision,
) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    identity = identity_of(checkpoint, Recipe("splade", pooling, activation))
    spec = ModelSpec("x", identity, output, precision, positions=True)
    model = load(executor, tmp_path, checkpoint, spec)
    for text, row in zip(TEXTS, vectors(model, spec, TEXTS), strict=True):
        tokens = token_weights(checkpoint, text, activation)
        near = TOLERANCE[precision] * (1 if pooling == "max" else len(text))
        expected = pooled(tokens, pooling)
        np.testing.assert_allclose(dense(row), expected, atol=near)
        if precision == "fp32":
            assert row.vector.indices.tolist() == np.flatnonzero(expected > 0).tolist()
        assert row.positions is not None
        # Of nearly equal tokens, rounding chooses.
        chosen = tokens[row.positions, row.vector.indices]
        greatest = tokens.max(axis=0)[row.vector.indices]
        np.testing.assert_allclose(chosen, greatest, atol=2 * TOLERANCE[precision])


@pytest.mark.parametrize(
    ("pooling", "output", "positions", "vocabulary"),
    list(product(POOLINGS, OUTPUTS, [False, True], [50, 4100, 65600])),
)
def test_outputs_are_those_of_the_graph(
    executor: Any,
    tmp_path: Path,
    pooling: Pooling,
    output: Output,
    positions: bool,
    vocabulary: int,
) -> None:
    """A vocabulary of one block, one that ends in a small block, and one of 32-bit ids."""
    checkpoint = bert_oracle.write_checkpoint(tmp_path, vocabulary, tied=False)
    recipe = Recipe("splade", pooling, drop_special=True)
    spec = ModelSpec("x", identity_of(checkpoint, recipe), output, positions=positions)
    model = load(executor, tmp_path, checkpoint, spec)
    graph = tmp_path / "model.onnx"
    graph.write_bytes(export_graph(checkpoint, spec.identity, output, positions=positions))
    tokens = batch(TEXTS)
    expected = OnnxGraph(graph).run(tokens)
    (reply,) = model.execute([request(tokens)])
    found = arrays_of(reply)
    assert list(found) == [each.name for each in outputs_of(spec.identity, output, positions)]
    for name, array in found.items():
        assert (array.dtype, array.shape) == (expected[name].dtype, expected[name].shape)
    both = (rows(spec, each, tokens.attention_mask) for each in (found, expected))
    for ours, theirs in zip(*both, strict=True):
        near = 1e-5 if pooling == "max" else 1e-4
        np.testing.assert_allclose(dense(ours, vocabulary), dense(theirs, vocabulary), atol=near)
        assert not set(SPECIALS) & set(ours.vector.indices.tolist())
        assert (ours.positions is None) == (theirs.positions is None)


@pytest.mark.parametrize(("output", "precision"), list(product(OUTPUTS, TOLERANCE)))
def test_neither_padding_nor_neighbours_change_a_vector(
    executor: Any, tmp_path: Path, output: Output, precision: Precision
) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    spec = ModelSpec("x", identity_of(checkpoint), output, precision, positions=True)
    model = load(executor, tmp_path, checkpoint, spec)
    for text, row in zip(TEXTS, vectors(model, spec, TEXTS), strict=True):
        (alone,) = vectors(model, spec, [text])
        # Products of another shape may be added up in another order.
        near = 1e-5 if precision == "fp32" else TOLERANCE["fp16"]
        np.testing.assert_allclose(dense(row), dense(alone), atol=near)
        assert row.positions is not None
        assert row.positions.max() < len(text)


@pytest.mark.parametrize(
    ("pooling", "activation", "output"), list(product(POOLINGS, ACTIVATIONS, OUTPUTS))
)
def test_a_threshold_is_one_of_weights(
    executor: Any, tmp_path: Path, pooling: Pooling, activation: Activation, output: Output
) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    recipe = Recipe("splade", pooling, activation)
    spec = ModelSpec("x", replace(identity_of(checkpoint, recipe), threshold=0.5), output)
    model = load(executor, tmp_path, checkpoint, spec)
    for text, row in zip(TEXTS, vectors(model, spec, TEXTS), strict=True):
        expected = pooled(token_weights(checkpoint, text, activation), pooling)
        np.testing.assert_allclose(dense(row), np.where(expected > 0.5, expected, 0), atol=1e-5)


@pytest.mark.parametrize(("pooling", "output"), list(product(POOLINGS, OUTPUTS)))
def test_the_heaviest_terms_stay_of_a_capped_row(
    executor: Any, tmp_path: Path, pooling: Pooling, output: Output
) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    identity = replace(identity_of(checkpoint, Recipe("splade", pooling)), max_terms=3)
    spec = ModelSpec("x", identity, output)
    model = load(executor, tmp_path, checkpoint, spec)
    for text, row in zip(TEXTS, vectors(model, spec, TEXTS), strict=True):
        expected = pooled(token_weights(checkpoint, text), pooling)
        assert row.capped
        assert row.vector.indices.tolist() == sorted(np.argsort(-expected)[:3].tolist())


@pytest.mark.parametrize(("pooling", "precision"), list(product(POOLINGS, TOLERANCE)))
def test_a_row_of_padding_gives_numbers(
    executor: Any, tmp_path: Path, pooling: Pooling, precision: Precision
) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    identity = identity_of(checkpoint, Recipe("splade", pooling))
    spec = ModelSpec("x", identity, precision=precision, positions=True)
    model = load(executor, tmp_path, checkpoint, spec)
    empty, full = vectors(model, spec, [[], [2, 7, 3]])
    assert np.isfinite(empty.vector.values).all()
    (alone,) = vectors(model, spec, [[2, 7, 3]])
    np.testing.assert_allclose(dense(full), dense(alone), atol=TOLERANCE[precision])


def test_a_batch_is_split_into_its_requests_and_trimmed(executor: Any, tmp_path: Path) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    spec = ModelSpec("x", identity_of(checkpoint))
    model = load(executor, tmp_path, checkpoint, spec)
    parts = [[TEXTS[1]], [TEXTS[2]], TEXTS, [TEXTS[0], TEXTS[1]]]
    replies = model.execute([request(batch(texts)) for texts in parts])
    assert len(replies) == len(parts)
    widths = set()
    for texts, reply in zip(parts, replies, strict=True):
        found = arrays_of(reply)
        fullest = max(np.count_nonzero(token_weights(checkpoint, t).max(axis=0)) for t in texts)
        assert found["values"].shape == found["indices"].shape == (len(texts), fullest)
        assert found["values"].flags.c_contiguous
        widths.add(fullest)
        for text, row in zip(texts, rows(spec, found, batch(texts).attention_mask), strict=True):
            np.testing.assert_allclose(
                dense(row), token_weights(checkpoint, text).max(axis=0), atol=1e-5
            )
    assert len(widths) > 1


@pytest.mark.parametrize(
    ("token", "words"), [(50, "to 50, and the model has 0 to 49"), (-1, "from -1")]
)
def test_a_bad_request_fails_alone(executor: Any, tmp_path: Path, token: int, words: str) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    spec = ModelSpec("x", identity_of(checkpoint))
    model = load(executor, tmp_path, checkpoint, spec)
    bad = [[2, token, 3]]
    good, failed, other = model.execute([request(batch(t)) for t in ([TEXTS[0]], bad, [TEXTS[2]])])
    assert words in failed.error.text
    for reply, text in ((good, TEXTS[0]), (other, TEXTS[2])):
        (row,) = rows(spec, arrays_of(reply), batch([text]).attention_mask)
        expected = token_weights(checkpoint, text).max(axis=0)
        np.testing.assert_allclose(dense(row), expected, atol=1e-5)
    (alone,) = model.execute([request(batch(bad))])
    assert alone.error == failed.error


def test_a_text_that_is_too_long_is_refused(executor: Any, tmp_path: Path) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    spec = ModelSpec("x", identity_of(checkpoint))
    model = load(executor, tmp_path, checkpoint, spec)
    most = bert_oracle.POSITIONS
    fits, longer = (model.execute([request(batch([[2, 3]], n))])[0] for n in (most, most + 1))
    assert fits.error is None
    assert f"{most + 1} tokens, and the model takes 1 to {most}" in longer.error.text


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
