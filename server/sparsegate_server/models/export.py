"""Writes a checkpoint's graph as ONNX, straight from its tensors."""

from __future__ import annotations

import numpy as np

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.bert import BertWriter
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.graph import GraphBuilder
from sparsegate_server.models.spec import ModelIdentity, Output

_CHUNK = 4096
"""Terms that are scored at a time: a block of logits is pooled before the next is made, which
bounds a batch's memory. All logits at once were 5 % faster, at 2 GB for 32 texts of 512 tokens."""


def identity_of(checkpoint: Checkpoint) -> ModelIdentity:
    """The identity that a SPLADE model of this checkpoint has."""
    return ModelIdentity(
        family="splade",
        weights_sha256=checkpoint.weights_sha256,
        tokenizer_sha256=checkpoint.tokenizer_sha256,
        vocabulary_size=checkpoint.shape.vocabulary_size,
        max_length=checkpoint.shape.positions,
    )


def index_dtype(vocabulary_size: int) -> str:
    """The narrowest type of term ids on the wire."""
    return "uint16" if vocabulary_size <= 2**16 else "uint32"


def export_graph(checkpoint: Checkpoint, identity: ModelIdentity, output: Output) -> bytes:
    """The ONNX model, the same bytes for the same arguments.

    Inputs are `input_ids` and `attention_mask`, int32 [batch, length]; the outputs are those of
    `inference.base.InferenceBackend`.

    Raises:
        ModelSourceError: a tensor is missing or has a size that does not fit.
    """
    graph = GraphBuilder()
    input_ids = graph.input("input_ids", "int32", ["batch", "length"])
    attention_mask = graph.input("attention_mask", "int32", ["batch", "length"])
    bert = BertWriter(graph, checkpoint)
    try:
        h = bert.head_transform(bert.encoder(input_ids, attention_mask))
        if output == "logits":
            _write_logits(graph, bert, h)
        else:
            _write_terms(graph, bert, h, attention_mask, identity)
        return graph.build(f"{identity.family}_{output}")
    except ValueError as error:
        raise ModelSourceError(f"the checkpoint's tensors do not fit together: {error}") from error


def _write_logits(graph: GraphBuilder, bert: BertWriter, h: str) -> None:
    """logits = h · Wᵀ + b, for every token."""
    weight = graph.node("Transpose", bert.decoder(), perm=[1, 0])
    logits = graph.node("Add", graph.node("MatMul", h, weight), bert.decoder_bias())
    graph.output(logits, "logits", "float32", ["batch", "length", "vocabulary"])


def _write_terms(
    graph: GraphBuilder, bert: BertWriter, h: str, attention_mask: str, identity: ModelIdentity
) -> None:
    """SPLADE's max over tokens of log(1 + relu(logit)), as the greatest terms of each row.

    ReLU and log(1 + x) keep order, so the maximum and the choice of terms come first, and the
    logarithm is taken of the chosen few. Nothing is cut: k is the fullest row's count.
    """
    g = graph
    pooled = _pool(g, bert, h, attention_mask, identity.vocabulary_size)
    # The threshold is a weight; before the logarithm it stands at exp(t) - 1.
    floor = g.scalar(float(np.float32(np.expm1(identity.threshold))))
    counts = g.node(
        "ReduceSum", g.cast(g.node("Greater", pooled, floor), "int32"), g.integers(1), keepdims=0
    )
    fullest = g.cast(g.node("ReduceMax", counts, keepdims=1), "int64")
    # One more than the cap, so that a capped row can be told from one that just fits.
    k = g.node("Min", g.node("Max", fullest, g.integers(1)), g.integers(identity.max_terms + 1))
    top, indices = g.nodes("TopK", pooled, k, outputs=2, axis=1, largest=1, sorted=1)
    kept = g.node("Greater", top, floor)
    values = g.node("Where", kept, _log1p(g, g.node("Relu", top)), g.scalar(0.0))
    dtype = index_dtype(identity.vocabulary_size)
    g.output(g.cast(indices, dtype), "indices", dtype, ["batch", "k"])
    g.output(values, "values", "float32", ["batch", "k"])


def _pool(
    graph: GraphBuilder, bert: BertWriter, h: str, attention_mask: str, vocabulary_size: int
) -> str:
    """Each term's greatest logit over the tokens, float32 [batch, vocabulary]."""
    g = graph
    # Padding takes the state of [CLS], a real token, and so never changes a maximum.
    first = g.node("Slice", h, g.integers(0), g.integers(1), g.integers(1))
    real = g.node("Unsqueeze", g.cast(attention_mask, "bool"), g.integers(2))
    h = g.node("Where", real, h, first)
    weight = bert.decoder()
    chunks = []
    for start in range(0, vocabulary_size, _CHUNK):
        end = min(start + _CHUNK, vocabulary_size)
        # A constant expression, which the runtime evaluates once, when it loads the graph.
        rows = g.node("Slice", weight, g.integers(start), g.integers(end), g.integers(0))
        logits = g.node("MatMul", h, g.node("Transpose", rows, perm=[1, 0]))
        chunks.append(g.node("ReduceMax", logits, g.integers(1), keepdims=0))
    return g.node("Add", g.node("Concat", *chunks, axis=1), bert.decoder_bias())


def _log1p(graph: GraphBuilder, x: str) -> str:
    """log(1 + x) for x ≥ 0 without loss near zero (ONNX has no such operator).

    With u = fl(1 + x): x · log(u) / (u - 1), and x itself where u is 1. See Goldberg, "What Every
    Computer Scientist Should Know About Floating-Point Arithmetic", ACM Computing Surveys 1991,
    theorem 4.
    """
    g = graph
    one = g.scalar(1.0)
    u = g.node("Add", x, one)
    rounded_away = g.node("Equal", u, one)
    safe = g.node("Where", rounded_away, g.scalar(2.0), u)
    exact = g.node("Div", g.node("Mul", x, g.node("Log", safe)), g.node("Sub", safe, one))
    return g.node("Where", rounded_away, x, exact)
