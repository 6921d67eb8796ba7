"""Every kind of graph against the formulas, one text and one term at a time."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from sparsegate_server.encoders.sparsify import Row, rows
from sparsegate_server.errors import InferenceFailed
from sparsegate_server.inference.onnx import OnnxGraph
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.export import export_graph, identity_of
from sparsegate_server.models.recipe import Recipe
from sparsegate_server.models.spec import Activation, ModelSpec, Output, Pooling, Precision

from . import bert_oracle
from .formulas import ACTIVATIONS, OUTPUTS, POOLINGS, SPECIALS, TEXTS, batch, dense, token_weights

TOLERANCE: dict[Precision, float] = {"fp32": 1e-5, "fp16": 0.01, "int8": 0.06}
"""Of a token's weight; a sum over tokens may be off by as much for each."""


def run(
    folder: Path,
    checkpoint: Checkpoint,
    spec: ModelSpec,
    texts: list[list[int]],
    *,
    screened: bool = False,
) -> list[Row]:
    """The vectors of a graph, made and run as the gateway would."""
    file = folder / "model.onnx"
    file.write_bytes(
        export_graph(
            checkpoint,
            spec.identity,
            spec.output,
            spec.precision,
            positions=spec.positions,
            screened=screened,
        )
    )
    tokens = batch(texts)
    return rows(spec, OnnxGraph(file).run(tokens), tokens.attention_mask)


@pytest.mark.parametrize(
    ("pooling", "activation", "output", "precision"),
    list(product(POOLINGS, ACTIVATIONS, OUTPUTS, TOLERANCE)),
)
def test_weights_and_positions_are_those_of_the_formula(
    tmp_path: Path, pooling: Pooling, activation: Activation, output: Output, precision: Precision
) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    identity = identity_of(checkpoint, Recipe("splade", pooling, activation))
    spec = ModelSpec("x", identity, output, precision, positions=True)
    for text, row in zip(TEXTS, run(tmp_path, checkpoint, spec, TEXTS), strict=True):
        tokens = token_weights(checkpoint, text, activation)
        expected = tokens.max(axis=0) if pooling == "max" else tokens.sum(axis=0)
        near = TOLERANCE[precision] * (1 if pooling == "max" else len(text))
        if precision == "int8" and output == "terms":
            # Rounded products only choose the terms, which are then weighed without them.
            near = TOLERANCE["fp16"]
        np.testing.assert_allclose(dense(row), expected, atol=near)
        if precision == "fp32":
            assert row.vector.indices.tolist() == np.flatnonzero(expected > 0).tolist()
        assert row.positions is not None
        assert row.positions.dtype == np.uint16
        # Of nearly equal tokens, rounding chooses.
        chosen = tokens[row.positions, row.vector.indices]
        greatest = tokens.max(axis=0)[row.vector.indices]
        np.testing.assert_allclose(chosen, greatest, atol=2 * TOLERANCE[precision])


@pytest.mark.parametrize(
    ("pooling", "activation", "output"), list(product(POOLINGS, ACTIVATIONS, OUTPUTS))
)
def test_a_screen_leaves_every_vector_as_it_is(
    tmp_path: Path, pooling: Pooling, activation: Activation, output: Output
) -> None:
    """A thousand terms, of which many are close to having a weight."""
    checkpoint = bert_oracle.write_checkpoint(tmp_path, vocabulary=1000)
    identity = identity_of(checkpoint, Recipe("splade", pooling, activation))
    spec = ModelSpec("x", identity, output, positions=True)
    plain, screened = (
        run(tmp_path, checkpoint, spec, TEXTS, screened=each) for each in (False, True)
    )
    for expected, found in zip(plain, screened, strict=True):
        assert found.vector.indices.tolist() == expected.vector.indices.tolist()
        np.testing.assert_allclose(found.vector.values, expected.vector.values, rtol=1e-5)
        np.testing.assert_array_equal(found.positions, expected.positions)
        assert not found.capped


@pytest.mark.parametrize(("output", "precision"), list(product(OUTPUTS, TOLERANCE)))
def test_neither_padding_nor_neighbours_change_a_vector(
    tmp_path: Path, output: Output, precision: Precision
) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    spec = ModelSpec("x", identity_of(checkpoint), output, precision, positions=True)
    together = run(tmp_path, checkpoint, spec, TEXTS)
    for text, row in zip(TEXTS, together, strict=True):
        (alone,) = run(tmp_path, checkpoint, spec, [text])
        # A scale is a quotient, which another vector width may round otherwise.
        np.testing.assert_allclose(dense(row), dense(alone), atol=1e-6)


@pytest.mark.parametrize(("pooling", "output"), list(product(POOLINGS, OUTPUTS)))
def test_dropped_terms_are_in_no_vector(tmp_path: Path, pooling: Pooling, output: Output) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    recipe = Recipe("splade", pooling, drop_special=True)
    identity = identity_of(checkpoint, recipe)
    assert identity.dropped_terms == SPECIALS
    whole = identity_of(checkpoint, replace(recipe, drop_special=False))
    kept, cut = (
        [dense(row) for row in run(tmp_path, checkpoint, ModelSpec("x", each, output), TEXTS)]
        for each in (whole, identity)
    )
    assert any(row[list(SPECIALS)].any() for row in kept)
    for before, after in zip(kept, cut, strict=True):
        before[list(SPECIALS)] = 0
        np.testing.assert_allclose(after, before, atol=1e-6)


@pytest.mark.parametrize(
    ("pooling", "activation", "output"), list(product(POOLINGS, ACTIVATIONS, OUTPUTS))
)
def test_a_threshold_is_one_of_weights(
    tmp_path: Path, pooling: Pooling, activation: Activation, output: Output
) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    recipe = Recipe("splade", pooling, activation)
    identity = replace(identity_of(checkpoint, recipe), threshold=0.5)
    found = run(tmp_path, checkpoint, ModelSpec("x", identity, output), TEXTS)
    for text, row in zip(TEXTS, found, strict=True):
        tokens = token_weights(checkpoint, text, activation)
        expected = tokens.max(axis=0) if pooling == "max" else tokens.sum(axis=0)
        np.testing.assert_allclose(dense(row), np.where(expected > 0.5, expected, 0), atol=1e-5)


@pytest.mark.parametrize(("pooling", "output"), list(product(POOLINGS, OUTPUTS)))
def test_the_heaviest_terms_stay_of_a_capped_row(
    tmp_path: Path, pooling: Pooling, output: Output
) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    identity = replace(identity_of(checkpoint, Recipe("splade", pooling)), max_terms=3)
    spec = ModelSpec("x", identity, output, positions=True)
    for text, row in zip(TEXTS, run(tmp_path, checkpoint, spec, TEXTS), strict=True):
        tokens = token_weights(checkpoint, text, "log1p")
        expected = tokens.max(axis=0) if pooling == "max" else tokens.sum(axis=0)
        assert row.capped
        assert row.vector.indices.tolist() == sorted(np.argsort(-expected)[:3].tolist())
        assert row.positions is not None
        assert len(row.positions) == 3


@pytest.mark.parametrize("precision", list(TOLERANCE))
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_row_of_padding_gives_numbers(
    tmp_path: Path, pooling: Pooling, precision: Precision
) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    spec = ModelSpec("x", identity_of(checkpoint, Recipe("splade", pooling)), precision=precision)
    empty, full = run(tmp_path, checkpoint, spec, [[], [2, 7, 3]])
    assert np.isfinite(empty.vector.values).all()
    (alone,) = run(tmp_path, checkpoint, spec, [[2, 7, 3]])
    np.testing.assert_allclose(dense(full), dense(alone), atol=1e-6)


@pytest.mark.parametrize(("output", "name"), [("terms", "values"), ("pooled", "pooled")])
def test_a_reply_that_lacks_an_output_is_refused(tmp_path: Path, output: Output, name: str) -> None:
    identity = identity_of(bert_oracle.write_checkpoint(tmp_path))
    arrays = {
        "indices": np.zeros((1, 2), np.uint16),
        "values": np.zeros((1, 2), np.float32),
        "pooled": np.zeros((1, 50), np.float32),
    }
    spec = ModelSpec("x", identity, output)
    mask = np.ones((1, 16), np.int32)
    assert len(rows(spec, arrays, mask)) == 1
    with pytest.raises(InferenceFailed, match=f"returned no '{name}'"):
        rows(spec, {key: array for key, array in arrays.items() if key != name}, mask)
    with pytest.raises(InferenceFailed, match=f"{name} of shape"):
        rows(spec, {**arrays, name: arrays[name][:, :-1]}, mask)
    with pytest.raises(InferenceFailed, match="returned no 'positions'"):
        rows(replace(spec, positions=True), arrays, mask)
