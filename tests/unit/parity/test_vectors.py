"""Vectors of graphs and of references, which must be the same ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.onnx import GRAPH_FILE, OnnxGraph
from sparsegate_server.models.spec import Activation, ModelIdentity, Output, Pooling
from sparsegate_server.parity import measures, numpy_bert
from sparsegate_server.parity.references import NumpyVectors, weigh
from sparsegate_server.parity.vectors import RULES, GraphVectors, Ids, Outputs, batched

from ..models import bert_oracle
from .small import subject


def rows(count: int = 40) -> list[Ids]:
    random = np.random.default_rng(1)
    lengths = random.integers(1, 23, count)
    return [np.array([2, *random.integers(5, 50, n), 3], np.int32)[:24] for n in lengths]


@pytest.mark.parametrize("tied", [True, False])
def test_bert_in_numpy_is_that_of_the_tests(tmp_path: Path, tied: bool) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path, tied=tied)
    texts = rows(6)
    found = dict(numpy_bert.logits(checkpoint, texts))
    for at, ids in enumerate(texts):
        expected = bert_oracle.logits(checkpoint, ids.tolist())
        np.testing.assert_allclose(found[at], expected, atol=1e-12)


@pytest.mark.parametrize("output", ["terms", "pooled", "logits"])
def test_a_graph_makes_the_vectors_of_its_checkpoint(tmp_path: Path, output: Output) -> None:
    model = subject(tmp_path, output=output)
    graph = OnnxGraph(model.repository / "small" / GRAPH_FILE)
    done: list[int] = []
    texts = rows()
    found = GraphVectors("graph", model.spec, graph.run).encode(texts, done.append)
    reference = NumpyVectors(model.originals.documents.checkpoint, model.spec.identity)
    expected = reference.encode(texts, done.append)
    assert sum(done) == 2 * len(texts)
    for one, other in zip(expected, found, strict=True):
        assert one.sound
        assert other.sound
        assert measures.difference(one.vector, other.vector) < 1e-5


def test_a_graph_that_minds_its_padding_is_found_out(tmp_path: Path) -> None:
    """Texts travel in padded batches, so that a mask which is not heeded shows."""
    model = subject(tmp_path)
    graph = OnnxGraph(model.repository / "small" / GRAPH_FILE)

    def heedless(batch: TokenBatch) -> Outputs:
        return graph.run(TokenBatch(batch.input_ids, np.ones_like(batch.attention_mask)))

    texts = rows()
    right, wrong = (
        GraphVectors("graph", model.spec, run).encode(texts, lambda _: None)
        for run in (graph.run, heedless)
    )
    apart = [measures.difference(a.vector, b.vector) for a, b in zip(right, wrong, strict=True)]
    assert max(apart) > 0.01


def test_batches_are_those_of_one_padded_length(tmp_path: Path) -> None:
    spec = subject(tmp_path).spec
    texts = rows(300)
    batches = list(batched(spec, texts))
    assert sorted(at for batch in batches for at in batch) == list(range(300))
    for batch in batches:
        lengths = {RULES.padded(spec, len(texts[at])) for at in batch}
        assert len(lengths) == 1
        assert len(batch) <= RULES.capacity(spec, *lengths)


@pytest.mark.parametrize("output", ["pooled", "logits"])
def test_rows_with_a_number_that_is_none(tmp_path: Path, output: Output) -> None:
    model = subject(tmp_path, output=output)
    texts = rows(5)

    def spoilt(batch: TokenBatch) -> Outputs:
        values = OnnxGraph(model.repository / "small" / GRAPH_FILE).run(batch)[output].copy()
        values[batch.input_ids[:, 1] == texts[2][1], ..., 9] = np.nan
        if output == "logits":
            # What padding gives is nobody's concern.
            values[batch.attention_mask == 0] = np.inf
        return {output: values}

    found = GraphVectors("graph", model.spec, spoilt).encode(texts, lambda _: None)
    assert [each.sound for each in found] == [ids[1] != texts[2][1] for ids in texts]


@pytest.mark.parametrize(
    ("pooling", "activation", "expected"),
    [
        ("max", "log1p", {0: np.log(4), 3: np.log(2)}),
        ("sum", "log1p", {0: np.log(4) + np.log(2), 3: np.log(2)}),
        ("max", "log1p-twice", {0: np.log1p(np.log(4)), 3: np.log1p(np.log(2))}),
    ],
)
def test_the_formula(pooling: Pooling, activation: Activation, expected: dict[int, float]) -> None:
    identity = ModelIdentity(
        "splade", "", "", 4, pooling=pooling, activation=activation, dropped_terms=(2,)
    )
    logits = np.array([[3.0, -1, 5, 1], [1, -2, 5, -1]])
    found = weigh(logits, identity)
    assert found.vector.indices.tolist() == list(expected)
    np.testing.assert_allclose(found.vector.values, list(expected.values()), rtol=1e-6)
    assert found.floor == 0
    # With fewer terms, those that are left out weigh no more than the last that is kept.
    capped = weigh(logits, replace(identity, max_terms=1))
    assert capped.vector.indices.tolist() == [0]
    assert capped.floor == pytest.approx(expected[0])
    assert not weigh(np.array([[np.nan, 1, 0, 0]]), identity).sound


def test_a_checkpoint_of_another_spelling(tmp_path: Path) -> None:
    """TensorFlow's names of a normalisation's tensors are read like PyTorch's."""
    old = bert_oracle.write_checkpoint(tmp_path / "old", old_names=True)
    new = bert_oracle.write_checkpoint(tmp_path / "new")
    one, other = (dict(numpy_bert.logits(each, rows(2))) for each in (old, new))
    np.testing.assert_array_equal(one[0], other[0])
