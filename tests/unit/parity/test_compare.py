"""Whole comparisons: small models that are what they should be, and some that are not."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sparsegate_server.errors import InferenceUnavailable, ModelSourceError
from sparsegate_server.inference.dummy import DummyBackend
from sparsegate_server.inference.onnx import GRAPH_FILE, OnnxBackend
from sparsegate_server.models.architectures import DECODER, WORDS
from sparsegate_server.models.export import export_graph
from sparsegate_server.models.originals import Originals
from sparsegate_server.models.pull import Pulled
from sparsegate_server.models.recipe import FamilyChoice
from sparsegate_server.models.repository import Vectors, export
from sparsegate_server.models.spec import ModelSpec, Output, Precision
from sparsegate_server.parity import gate, speed
from sparsegate_server.parity.compare import Reference, Subject, compare
from sparsegate_server.parity.docstrings import docstrings
from sparsegate_server.parity.served import connect
from sparsegate_server.parity.texts import TextSet, read_beir
from sparsegate_server.parity.vectors import Advance, Ids, Run

from ..models import bert_oracle
from .small import DOCUMENTS, QUERIES, checkpoint, subject, write_beir


@pytest.fixture
def texts(tmp_path: Path) -> TextSet:
    return read_beir(write_beir(tmp_path / "some"))


def twice_as_fast(
    spec: ModelSpec, graphs: Sequence[Run], rows: Sequence[Ids], advance: Callable[[], None]
) -> list[float]:
    assert len(graphs) == 2
    assert rows
    return [50.0, 100.0]


class Steps:
    """A `Progress` that counts."""

    def __init__(self) -> None:
        self.left: dict[str, int] = {}

    def step(self, name: str, total: int) -> Advance:
        self.left[name] = total

        def advance(done: int) -> None:
            self.left[name] -= done

        return advance


@pytest.mark.parametrize("output", ["terms", "pooled", "logits"])
def test_float32_is_exact(tmp_path: Path, texts: TextSet, output: Output) -> None:
    steps = Steps()
    found = compare(subject(tmp_path, output=output), texts, progress=steps)
    assert not gate.failed(found)
    assert found.reference == "NumPy, float64"
    assert (found.documents, found.queries) == (DOCUMENTS, QUERIES)
    assert 0 < found.max_difference < 1e-5
    assert found.overlap == 1
    assert found.ndcg == found.reference_ndcg > 0
    assert (found.reference_speed, found.speed) == (0, 0)
    assert len(steps.left) == 4
    assert not any(steps.left.values())


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("reference", ["graph", "numpy"])
def test_other_precisions_differ_a_little(
    tmp_path: Path, texts: TextSet, precision: Precision, reference: Reference
) -> None:
    model = subject(tmp_path, precision)
    found = compare(model, texts, reference, speeds=twice_as_fast)
    assert 1e-5 < found.max_difference < 0.2
    assert found.overlap > 0.9
    assert found.speedup == (2.0 if precision == "int8" else 0.0)


def test_the_graph_of_another_model_is_found_out(tmp_path: Path, texts: TextSet) -> None:
    model = subject(tmp_path)
    other = bert_oracle.write_checkpoint(tmp_path / "other", tied=False)
    file = model.repository / "small" / GRAPH_FILE
    file.write_bytes(export_graph(other, model.spec.identity))
    found = compare(model, texts)
    assert [each.name for each in gate.failed(found)] == ["max_difference"]
    assert found.overlap < 0.98


def test_weights_that_are_no_numbers_are_found_out(tmp_path: Path, texts: TextSet) -> None:
    """Of one token, so that texts without it stay what they are."""
    model = subject(tmp_path, "fp16", "logits")
    original = model.originals.documents.checkpoint
    words, decoder = original.tensors[WORDS], original.tensors[WORDS].copy()
    spoilt = np.where(np.arange(len(words))[:, None] == 7, np.nan, words).astype(np.float32)
    tensors = {**original.tensors, WORDS: spoilt, DECODER: decoder}
    graph = export_graph(replace(original, tensors=tensors), model.spec.identity, "logits", "fp16")
    (model.repository / "small" / GRAPH_FILE).write_bytes(graph)
    found = compare(model, texts)
    having = sum("w7" in text.split()[:22] for text in texts.documents + texts.queries)
    assert found.not_finite == having > 0
    assert found.max_difference < 0.1
    assert "not_finite" in [each.name for each in gate.failed(found)]


def test_graphs_that_a_backend_runs(tmp_path: Path, texts: TextSet) -> None:
    """With a graph of queries too, which is served under a name of its own."""
    queries = checkpoint(tmp_path / "queries", tied=False)
    model = subject(tmp_path, vectors=Vectors(family=FamilyChoice.SPLADE, queries=queries))
    with connect(lambda: OnnxBackend(model.repository, [model.spec])) as graphs:
        found = compare(replace(model, served=graphs), texts)
    assert found.runtime == "onnx: python, cpu"
    assert not gate.failed(found)
    # Made-up vectors are not what the checkpoint makes.
    with connect(DummyBackend) as graphs:
        found = compare(replace(model, served=graphs), texts)
    assert [each.name for each in gate.failed(found)] == ["max_difference"]


def test_a_backend_that_does_not_serve_the_model(tmp_path: Path, texts: TextSet) -> None:
    model = subject(tmp_path)
    with (
        connect(lambda: OnnxBackend(model.repository, [])) as graphs,
        pytest.raises(InferenceUnavailable, match="does not serve 'small'"),
    ):
        compare(replace(model, served=graphs), texts)


def test_queries_with_a_graph_of_their_own(tmp_path: Path, texts: TextSet) -> None:
    queries = checkpoint(tmp_path / "queries", tied=False)
    model = subject(tmp_path, vectors=Vectors(family=FamilyChoice.SPLADE, queries=queries))
    assert not gate.failed(compare(model, texts))
    # The documents' graph in its place is no equal of it.
    graphs = [model.repository / name / GRAPH_FILE for name in model.spec.served_names]
    graphs[1].write_bytes(graphs[0].read_bytes())
    assert [each.name for each in gate.failed(compare(model, texts))] == ["max_difference"]


def test_queries_without_a_graph(tmp_path: Path, texts: TextSet) -> None:
    model = subject(tmp_path, vectors=Vectors(family=FamilyChoice.SPLADE_DOC))
    steps = Steps()
    found = compare(model, texts, progress=steps)
    assert not gate.failed(found)
    assert found.ndcg > 0.1
    assert len(steps.left) == 2


def test_the_float32_graph_is_no_proof_of_itself(tmp_path: Path, texts: TextSet) -> None:
    with pytest.raises(ModelSourceError, match="--reference numpy"):
        compare(subject(tmp_path), texts, "graph")


def test_text_that_the_model_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="in its own language with --data"):
        compare(subject(tmp_path), docstrings())


def test_a_text_that_is_not_known_is_left_out(tmp_path: Path, texts: TextSet) -> None:
    strange = TextSet(
        "some",
        ("unheard of", *texts.documents),
        ("never", *texts.queries),
        ({0: 1.0}, *({at + 1: 1.0} for at in range(QUERIES))),
    )
    model = subject(tmp_path)
    one, other = compare(model, texts), compare(model, strange)
    assert (other.documents, other.queries) == (DOCUMENTS, QUERIES)
    assert (other.overlap, other.ndcg) == (one.overlap, one.ndcg)


def test_torch_agrees(tmp_path: Path, texts: TextSet) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: it is an optional reference")
    pytest.importorskip("transformers", reason="transformers is not installed")
    found = compare(subject(tmp_path), texts, "torch")
    assert found.reference == "PyTorch, float32"
    assert not gate.failed(found)


@pytest.mark.parametrize("architecture", ["Bert", "DistilBert", "Roberta"])
def test_torch_agrees_on_what_transformers_saves(
    tmp_path: Path, texts: TextSet, architecture: str
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: it is an optional reference")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3}
    inner = {"DistilBert": "hidden_dim"}.get(architecture, "intermediate_size")
    # Roberta counts positions from behind the padding token.
    places = 26 if architecture == "Roberta" else 24
    config = getattr(transformers, f"{architecture}Config")(
        vocab_size=50, max_position_embeddings=places, initializer_range=0.5, pad_token_id=1,
        **{inner: 20}, **sizes,
    )  # fmt: skip
    folder = tmp_path / "saved"
    getattr(transformers, f"{architecture}ForMaskedLM")(config).save_pretrained(str(folder))
    bert_oracle.write_tokenizer(folder / "tokenizer.json", 50)
    pulled = Pulled("saved", folder, str(folder))
    spec = export(pulled, tmp_path / "repository")
    found = compare(Subject(tmp_path / "repository", spec, Originals.load(pulled)), texts, "torch")
    assert not gate.failed(found)


def test_without_torch_the_error_says_how_to_get_it(
    tmp_path: Path, texts: TextSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelSourceError, match=r"pip install 'sparsegate\[server,verify\]'"):
        compare(subject(tmp_path), texts, "torch")


def test_speeds_are_those_of_the_fastest_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that the graphs advance: 4 seconds a batch and 1, with a busy moment for each."""
    spec = subject(tmp_path).spec
    now, turns = [0.0], []

    def graph(name: str, seconds: float) -> Run:
        def run(batch: object) -> None:
            turns.append(name)
            now[0] += seconds + (7 if len(turns) in {1, 4} else 0)

        return run

    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(speed, "LEAST_SECONDS", 1e3)
    rows = [np.array([2, 5, 3], np.int32)] * 6
    rounds: list[int] = []
    found = speed.documents_per_second(
        spec, [graph("slow", 4.0), graph("fast", 1.0)], rows, lambda: rounds.append(1)
    )
    assert found == [6 / 4, 6]
    assert turns == ["slow", "fast"] * len(rounds)
    assert len(rounds) == 10
