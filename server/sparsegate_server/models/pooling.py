"""Pooling of a text's logits in the graph, a block of terms at a time.

SPLADE v2 (Formal et al. 2021, https://arxiv.org/abs/2109.10086) takes each term's maximum over the
tokens; the first SPLADE (Formal et al. 2021, https://arxiv.org/abs/2107.05720) takes the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.models.arithmetic import Blocks, Decoder
from sparsegate_server.models.graph import GraphBuilder
from sparsegate_server.models.spec import Activation, ModelIdentity

_BLOCK = 2048
"""Terms that are scored at a time: a block of logits is pooled before the next is made, which
bounds a batch's memory, and while it is in the processor's cache. In float32, blocks of 4096 take
8 % longer for 8 texts of 128 tokens, blocks of 1024 5 % longer for one of 16."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """Every term's score, from which its weight follows.

    Attributes:
        scores: float32 [batch, vocabulary], in the order of the weights.
        floor: float32 scalar; a weight is above the threshold where its score is above this.
        weigh: adds the nodes that make weights of float32 scores above the floor.
    """

    scores: str
    floor: str
    weigh: Callable[[str], str]


def pool(
    graph: GraphBuilder,
    decoder: Decoder,
    bias: NDArray[np.float32],
    h: str,
    attention_mask: str,
    identity: ModelIdentity,
) -> Pooled:
    """Pools by the identity; `h` must have come through `over_padding`."""
    if identity.pooling == "sum":
        scores = _sum(graph, decoder, bias, h, attention_mask, identity)
    else:
        scores = _max(graph, decoder, bias, h, identity.vocabulary_size)
    return scored(graph, scores, identity)


def scored(graph: GraphBuilder, scores: str, identity: ModelIdentity) -> Pooled:
    """What scores mean: sums of weights, or the greatest logits, of which weights are made yet."""
    if identity.pooling == "sum":
        return Pooled(scores, graph.scalar(identity.threshold), lambda scores: scores)
    return Pooled(
        scores,
        _logit_floor(graph, identity),
        lambda scores: _activate(graph, graph.node("Relu", scores), identity.activation),
    )


def over_padding(graph: GraphBuilder, h: str, attention_mask: str) -> str:
    """Padding takes the state of [CLS], a real token, and so never changes a maximum."""
    g = graph
    first = g.node("Slice", h, g.integers(0), g.integers(1), g.integers(1))
    real = g.node("Unsqueeze", g.cast(attention_mask, "bool"), g.integers(2))
    return g.node("Where", real, h, first)


def candidates(
    graph: GraphBuilder,
    decoder: Decoder,
    bias: NDArray[np.float32],
    h: str,
    identity: ModelIdentity,
) -> tuple[str, str]:
    """Scores that only tell which terms can have a weight, and the floor that those must pass.

    `exact_scores` tells how much they weigh. A sum over the tokens is above zero where its greatest
    logit is, which is faster to find.
    """
    scores = _max(graph, decoder, bias, h, identity.vocabulary_size)
    scores = graph.node("Add", scores, decoder.slack(h))
    return scores, graph.scalar(0.0) if identity.pooling == "sum" else _logit_floor(graph, identity)


def exact_scores(
    graph: GraphBuilder,
    bias: NDArray[np.float32],
    logits: str,
    terms: str,
    attention_mask: str,
    identity: ModelIdentity,
) -> str:
    """`Pooled.scores` of a few terms, float32 [batch, k].

    Args:
        logits: of `token_logits`.
        terms: int64 [batch, k].
    """
    g = graph
    biases = g.node("Gather", g.constant(bias, "bias"), terms)
    if identity.pooling == "max":
        return g.node("Add", g.node("ReduceMax", logits, g.integers(2), keepdims=0), biases)
    logits = g.node("Add", logits, g.node("Unsqueeze", biases, g.integers(2)))
    weights = _log_sums(g, g.node("Relu", logits), identity.activation)
    mask = g.node("Unsqueeze", g.cast(attention_mask, "float32"), g.integers(2))
    return g.node("Squeeze", g.node("MatMul", weights, mask), g.integers(2))


def token_logits(graph: GraphBuilder, decoder: Decoder, h: str, terms: str) -> str:
    """Without bias, of int64 [batch, k] terms for every token, float32 [batch, k, length].

    A few hundred terms are multiplied again, which costs a hundredth of all.
    """
    g = graph
    states = g.node("Transpose", h, perm=[0, 2, 1])
    return g.cast(g.node("MatMul", decoder.rows(terms), states), "float32")


def positions_of(graph: GraphBuilder, logits: str) -> str:
    """The token whose logit is greatest for each of the terms of `token_logits`, int64 [batch, k].

    It adds the most to a sum as well.
    """
    return graph.node("ArgMax", logits, axis=2, keepdims=0)


def all_positions(decoder: Decoder, h: str, vocabulary_size: int) -> str:
    """The same for every term, int64 [batch, vocabulary]."""
    return decoder.greatest_at(h, blocks_of(vocabulary_size))


def _logit_floor(graph: GraphBuilder, identity: ModelIdentity) -> str:
    """The threshold is a weight; this is the logit that has it."""
    return graph.scalar(float(np.float32(inverse(identity.threshold, identity.activation))))


def inverse(weight: float, activation: Activation) -> float:
    """The logit that has this weight."""
    once = np.expm1(weight)
    return float(np.expm1(once) if activation == "log1p-twice" else once)


def blocks_of(vocabulary_size: int) -> Blocks:
    return [
        (start, min(start + _BLOCK, vocabulary_size)) for start in range(0, vocabulary_size, _BLOCK)
    ]


def _max(
    graph: GraphBuilder, decoder: Decoder, bias: NDArray[np.float32], h: str, vocabulary_size: int
) -> str:
    """Each term's greatest logit. ReLU and log(1 + x) keep order, so they can wait."""
    greatest = decoder.greatest(h, blocks_of(vocabulary_size))
    return graph.node("Add", greatest, graph.constant(bias, "bias"))


def _sum(
    graph: GraphBuilder,
    decoder: Decoder,
    bias: NDArray[np.float32],
    h: str,
    attention_mask: str,
    identity: ModelIdentity,
) -> str:
    """Each term's sum over the tokens of its activated logits.

    The product with the mask, a row vector a text, leaves padding out and sums in one step.
    """
    g = graph
    mask = g.node("Unsqueeze", g.cast(attention_mask, "float32"), g.integers(1))
    blocks = []
    for start, end in blocks_of(identity.vocabulary_size):
        logits = g.cast(decoder.logits(h, start, end), "float32")
        weights = g.node("Relu", g.node("Add", logits, g.constant(bias[start:end])))
        weights = _log_sums(g, weights, identity.activation)
        blocks.append(g.node("MatMul", mask, weights))
    return g.node("Squeeze", g.node("Concat", *blocks, axis=2), g.integers(1))


def _log_sums(graph: GraphBuilder, x: str, activation: Activation) -> str:
    """The weights of logits that are at least 0, for a sum of many.

    Not `_log1p`: what it adds near zero is lost in a sum, and it costs five times as much.
    """
    for _ in range(2 if activation == "log1p-twice" else 1):
        x = graph.node("Log", graph.node("Add", x, graph.scalar(1.0)))
    return x


def _activate(graph: GraphBuilder, x: str, activation: Activation) -> str:
    """The weights of logits that are at least 0."""
    once = _log1p(graph, x)
    return _log1p(graph, once) if activation == "log1p-twice" else once


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
