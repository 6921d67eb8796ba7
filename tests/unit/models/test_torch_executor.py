"""What Triton runs with PyTorch, against the formulas and against the ONNX graph."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsegate_server.encoders.sparsify import rows
from sparsegate_server.inference.onnx import OnnxGraph
from sparsegate_server.models.export import export_graph, identity_of
from sparsegate_server.models.recipe import Recipe
from sparsegate_server.models.signature import outputs_of
from sparsegate_server.models.spec import Activation, ModelSpec, Output, Pooling, Precision

from . import bert_oracle
from .formulas import (
    ACTIVATIONS,
    OUTPUTS,
    POOLINGS,
    SPECIALS,
    TEXTS,
    batch,
    dense,
    pooled,
    token_weights,
)
from .torch_served import TOLERANCE, arrays_of, load, request, vectors

pytest.importorskip("torch", reason="PyTorch is not installed: it belongs to Triton's Python")


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
