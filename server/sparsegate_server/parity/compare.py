"""Compares a model's graphs with a reference: vectors, rankings, quality and speed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.encoders.sparsify import idf_query
from sparsegate_server.encoders.tokenizer import ModelTokenizer
from sparsegate_server.errors import ModelSourceError
from sparsegate_server.inference.onnx import GRAPH_FILE, OnnxGraph
from sparsegate_server.models.export import export_graph
from sparsegate_server.models.originals import Original, Originals
from sparsegate_server.models.query_table import load_query_table
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.parity import measures
from sparsegate_server.parity.gate import Findings
from sparsegate_server.parity.references import NumpyVectors, TorchVectors
from sparsegate_server.parity.scoring import Postings
from sparsegate_server.parity.served import ServedGraphs
from sparsegate_server.parity.speed import ROUNDS, TEXTS, documents_per_second
from sparsegate_server.parity.texts import TextSet, spread
from sparsegate_server.parity.tokens import TokenSet, tokenized
from sparsegate_server.parity.vectors import Advance, GraphVectors, Ids, Run, VectorSource, Weights
from sparsegate_server.types import SparseVector

Reference = Literal["graph", "numpy", "torch"]
"""The float32 graph, or the checkpoint's tensors without any graph."""

Speeds = Callable[[ModelSpec, Sequence[Run], Sequence[Ids], Callable[[], None]], list[float]]

IN_PROCESS = "onnxruntime, cpu"

SAMPLE_DOCUMENTS = 64
SAMPLE_QUERIES = 32
"""For the NumPy reference, which is slow."""


class Progress(Protocol):
    """Shows how far a comparison is."""

    def step(self, name: str, total: int) -> Advance:
        """Begins a step of `total` units; what it returns is called with those that are done."""
        ...


class Quiet:
    """A `Progress` that shows nothing."""

    def step(self, name: str, total: int) -> Advance:  # noqa: ARG002
        return lambda _: None


@dataclass(frozen=True, eq=False, slots=True)
class Subject:
    """A model to compare.

    Attributes:
        repository: the folder that has its folders.
        spec: its description.
        originals: the checkpoints that it was exported from.
        served: what runs its graphs; this process when None.
    """

    repository: Path
    spec: ModelSpec
    originals: Originals
    served: ServedGraphs | None = None

    @property
    def runtime(self) -> str:
        """What runs its graphs, for people."""
        if self.served is None:
            return IN_PROCESS
        return f"{self.served.name}: {self.spec.backend}, {self.spec.device}"


def default_reference(spec: ModelSpec) -> Reference:
    """The float32 graph cannot prove itself."""
    return "numpy" if spec.precision == "fp32" else "graph"


def compare(
    subject: Subject,
    texts: TextSet,
    reference: Reference | None = None,
    *,
    progress: Progress | None = None,
    speeds: Speeds = documents_per_second,
) -> Findings:
    """Encodes all texts twice, searches with both, and measures how far the two lie apart.

    Args:
        texts: a sample of them is enough for the NumPy reference.
        reference: as `default_reference` says when None.
        speeds: measures documents a second of graphs, for int8.

    Raises:
        ModelSourceError: the model knows no part of most texts, or the reference cannot be had.
        InferenceFailed: a graph failed.
    """
    spec = subject.spec
    reference = reference or default_reference(spec)
    if reference == "graph" and spec.precision == "fp32":
        raise ModelSourceError(
            f"{spec.name!r} is the float32 graph itself: take --reference numpy, or torch"
        )
    if reference == "numpy":
        texts = texts.sample(SAMPLE_DOCUMENTS, SAMPLE_QUERIES)
    tokens = tokenized(texts, ModelTokenizer(subject.repository / spec.name, spec))
    with tempfile.TemporaryDirectory(prefix="sparsegate-parity-") as scratch:
        graphs = _Graphs(subject, Path(scratch))
        documents, queries, name = _vectors(subject, graphs, tokens, reference, progress or Quiet())
        speed = _speeds(subject, graphs, tokens, progress or Quiet(), speeds)
    size = spec.identity.vocabulary_size
    quality = _Quality.of(documents.sound, queries.sound, tokens, size)
    return Findings(
        precision=spec.precision,
        runtime=subject.runtime,
        reference=name,
        text=texts.name,
        text_sha256=texts.sha256,
        documents=len(tokens.documents),
        queries=len(tokens.queries),
        not_finite=documents.not_finite + queries.not_finite,
        max_difference=max(documents.max_difference, queries.max_difference),
        overlap=quality.overlap,
        reference_ndcg=quality.reference_ndcg,
        ndcg=quality.ndcg,
        reference_speed=speed[0],
        speed=speed[1],
    )


class _Graphs:
    """The graphs that are under test, and float32 ones beside them, made when they are needed."""

    def __init__(self, subject: Subject, scratch: Path) -> None:
        self._subject = subject
        self._scratch = scratch
        self._made: dict[tuple[str, bool], OnnxGraph] = {}

    def tested(self, spec: ModelSpec) -> OnnxGraph:
        """Of the spec's own name."""
        file = self._subject.repository / spec.name / GRAPH_FILE
        return self._loaded(spec.name, False, lambda: file, spec.fingerprint)

    def served(self, spec: ModelSpec) -> Run:
        """The same, by whatever runs it."""
        served = self._subject.served
        return self.tested(spec).run if served is None else served.graph(spec)

    def float32(self, spec: ModelSpec, original: Original) -> OnnxGraph:
        """The graph of the same checkpoint that would be served in float32 there."""
        return self._loaded(spec.name, True, lambda: self._export(spec, original))

    def _loaded(
        self, name: str, exact: bool, file: Callable[[], Path], fingerprint: str = ""
    ) -> OnnxGraph:
        key = (name, exact)
        if key not in self._made:
            self._made[key] = OnnxGraph(file(), fingerprint=fingerprint)
        return self._made[key]

    def _export(self, spec: ModelSpec, original: Original) -> Path:
        file = self._scratch / f"{spec.name}.onnx"
        graph = export_graph(
            original.checkpoint,
            spec.identity,
            spec.output,
            positions=spec.positions,
            screened=spec.device == "cpu",
        )
        file.write_bytes(graph)
        return file


@dataclass(frozen=True, eq=False, slots=True)
class _Pairs:
    """The reference's and the graph's weights of the same texts.

    Attributes:
        summed: whether weights are sums over tokens.
    """

    expected: list[Weights]
    found: list[Weights]
    summed: bool

    @property
    def not_finite(self) -> int:
        return sum(not (a.sound and b.sound) for a, b in self._both())

    @property
    def max_difference(self) -> float:
        """Over the texts whose numbers are finite."""
        differences = (
            measures.difference(a.vector, b.vector, a.floor, b.floor, relative=self.summed)
            for a, b in self._both()
            if a.sound and b.sound
        )
        return max(differences, default=0.0)

    @property
    def sound(self) -> tuple[list[SparseVector], list[SparseVector]]:
        """The vectors of both, empty where a number is not finite."""
        nothing = SparseVector(np.empty(0, np.uint32), np.empty(0, np.float32))
        one, other = (
            [each.vector if each.sound else nothing for each in side]
            for side in (self.expected, self.found)
        )
        return one, other

    def _both(self) -> list[tuple[Weights, Weights]]:
        return list(zip(self.expected, self.found, strict=True))


def _vectors(
    subject: Subject, graphs: _Graphs, tokens: TokenSet, reference: Reference, progress: Progress
) -> tuple[_Pairs, _Pairs, str]:
    """Of documents, of queries, and what the reference is called."""
    summed = subject.spec.identity.pooling == "sum"

    def pairs(rows: list[Ids], what: str, spec: ModelSpec, original: Original) -> _Pairs:
        source = _source(graphs, reference, spec, original)
        expected = source.encode(rows, progress.step(f"{what}: {source.name}", len(rows)))
        tested = GraphVectors(f"{spec.precision} graph", spec, graphs.served(spec))
        found = tested.encode(rows, progress.step(f"{what}: {tested.name}", len(rows)))
        return _Pairs(expected, found, summed)

    spec, originals = subject.spec, subject.originals
    documents = pairs(tokens.documents, "Documents", spec, originals.documents)
    asking = spec.for_queries
    if asking is None:
        made = _queries_without_a_graph(subject, tokens.queries)
        queries = _Pairs(made, made, summed)
    else:
        queries = pairs(tokens.queries, "Queries", asking, originals.queries or originals.documents)
    return documents, queries, _source_name(reference)


def _source(
    graphs: _Graphs, reference: Reference, spec: ModelSpec, original: Original
) -> VectorSource:
    match reference:
        case "graph":
            exact = replace(spec, precision="fp32")
            run = graphs.float32(spec, original).run
            return GraphVectors(_source_name(reference), exact, run)
        case "numpy":
            return NumpyVectors(original.checkpoint, spec.identity)
        case "torch":
            return TorchVectors(original, spec.identity)


def _source_name(reference: Reference) -> str:
    names = {"graph": "float32 graph", "numpy": NumpyVectors.name, "torch": TorchVectors.name}
    return names[reference]


def _queries_without_a_graph(subject: Subject, rows: Sequence[Ids]) -> list[Weights]:
    table = load_query_table(subject.repository / subject.spec.name, subject.spec.identity)
    specials = np.array(subject.originals.documents.checkpoint.special_ids, np.int64)
    return [Weights(idf_query(ids, table, specials), 0.0, True) for ids in rows]


def _speeds(
    subject: Subject, graphs: _Graphs, tokens: TokenSet, progress: Progress, speeds: Speeds
) -> list[float]:
    """Documents a second in float32 and as exported; of int8 alone, the rest is 0."""
    spec = subject.spec
    if spec.precision != "int8":
        return [0.0, 0.0]
    rows = [tokens.documents[at] for at in spread(len(tokens.documents), TEXTS)]
    both = (graphs.float32(spec, subject.originals.documents), graphs.tested(spec))
    advance = progress.step("Speed: both graphs in turn", ROUNDS)
    return speeds(spec, [graph.run for graph in both], rows, lambda: advance(1))


@dataclass(frozen=True, slots=True)
class _Quality:
    """Means over the queries."""

    overlap: float
    reference_ndcg: float
    ndcg: float

    @classmethod
    def of(
        cls,
        documents: tuple[list[SparseVector], list[SparseVector]],
        queries: tuple[list[SparseVector], list[SparseVector]],
        tokens: TokenSet,
        vocabulary_size: int,
    ) -> _Quality:
        """Each side's queries search its own documents."""
        scores = [_scores(*side, vocabulary_size) for side in zip(documents, queries, strict=True)]
        ndcgs = [
            [
                measures.ndcg(measures.top(row).tolist(), relevant)
                for row, relevant in zip(side, tokens.relevant, strict=True)
            ]
            for side in scores
        ]
        overlaps = [measures.overlap(*pair) for pair in zip(*scores, strict=True)]
        return cls(float(np.mean(overlaps)), float(np.mean(ndcgs[0])), float(np.mean(ndcgs[1])))


def _scores(
    documents: list[SparseVector], queries: list[SparseVector], vocabulary_size: int
) -> list[NDArray[np.float32]]:
    postings = Postings(documents, vocabulary_size)
    return [postings.scores(query) for query in queries]
