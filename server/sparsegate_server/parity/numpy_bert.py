"""BERT with its masked-language-model head in plain NumPy and float64: slow, and plain to see.

Written from the papers (Devlin et al. 2019, https://arxiv.org/abs/1810.04805; Vaswani et al. 2017,
https://arxiv.org/abs/1706.03762), one text at a time and without padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.models.checkpoint import Checkpoint

Array = NDArray[np.float64]

_erf = np.frompyfunc(math.erf, 1, 1)


def logits(
    checkpoint: Checkpoint, rows: Sequence[NDArray[np.integer]]
) -> Iterator[tuple[int, Array]]:
    """The scores of every term at every token of texts.

    Layer by layer, so that only one layer's weights are in float64 at a time.

    Args:
        rows: token ids int [n] of each text, special tokens included.

    Yields:
        For each text its position in `rows` and float64 [n, vocabulary].
    """
    bert = _Bert(checkpoint)
    states = [bert.embed(ids) for ids in rows]
    for layer in range(checkpoint.shape.layers):
        apply = _Layer(bert, f"bert.encoder.layer.{layer}")
        states = [apply(state) for state in states]
    decoder, bias = bert.decoder()
    transform, norm = bert.dense("cls.predictions.transform.dense"), "cls.predictions.transform"
    for at, state in enumerate(states):
        h = bert.norm(_gelu(transform(state)), f"{norm}.LayerNorm")
        yield at, h @ decoder.T + bias


class _Dense:
    """x · Wᵀ + b."""

    def __init__(self, weight: Array, bias: Array) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, x: Array) -> Array:
        return x @ self._weight.T + self._bias


class _Bert:
    """Reads the checkpoint's tensors in float64."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._tensors = checkpoint.tensors
        self.shape = checkpoint.shape

    def tensor(self, name: str) -> Array:
        return np.asarray(self._tensors[name], np.float64)

    def dense(self, name: str) -> _Dense:
        return _Dense(self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"))

    def embed(self, ids: NDArray[np.integer]) -> Array:
        name = "bert.embeddings"
        words: Array = self._tensors[f"{name}.word_embeddings.weight"][ids].astype(np.float64)
        places = self.tensor(f"{name}.position_embeddings.weight")[: len(ids)]
        segment = self.tensor(f"{name}.token_type_embeddings.weight")[0]
        return self.norm(words + places + segment, f"{name}.LayerNorm")

    def norm(self, x: Array, name: str) -> Array:
        """Layer normalisation (Ba et al. 2016, https://arxiv.org/abs/1607.06450)."""
        centred: Array = x - x.mean(axis=-1, keepdims=True)
        variance = (centred**2).mean(axis=-1, keepdims=True)
        scaled: Array = centred / np.sqrt(variance + self.shape.epsilon)
        return scaled * self.tensor(f"{name}.weight") + self.tensor(f"{name}.bias")

    def decoder(self) -> tuple[Array, Array]:
        """Weight [vocabulary, hidden] and bias; tied to the words where it has no own weight."""
        own = "cls.predictions.decoder.weight"
        tied = "bert.embeddings.word_embeddings.weight"
        weight = self.tensor(own if own in self._tensors else tied)
        return weight, self.tensor("cls.predictions.bias")


class _Layer:
    """Self-attention, then two dense layers, each with what came in added, and normalised."""

    def __init__(self, bert: _Bert, name: str) -> None:
        self._bert = bert
        self._name = name
        parts = ("query", "key", "value")
        self._projections = [bert.dense(f"{name}.attention.self.{part}") for part in parts]
        self._attended = bert.dense(f"{name}.attention.output.dense")
        self._inner = bert.dense(f"{name}.intermediate.dense")
        self._outer = bert.dense(f"{name}.output.dense")

    def __call__(self, h: Array) -> Array:
        norm, name = self._bert.norm, self._name
        q, k, v = (np.split(each(h), self._bert.shape.heads, axis=1) for each in self._projections)
        heads = [_attention(*head) for head in zip(q, k, v, strict=True)]
        attended = self._attended(np.concatenate(heads, axis=1))
        h = norm(attended + h, f"{name}.attention.output.LayerNorm")
        return norm(self._outer(_gelu(self._inner(h))) + h, f"{name}.output.LayerNorm")


def _attention(q: Array, k: Array, v: Array) -> Array:
    """Each of [tokens, head size]."""
    scores = q @ k.T / math.sqrt(q.shape[1])
    weights: Array = np.exp(scores - scores.max(axis=1, keepdims=True))
    mixed: Array = weights @ v / weights.sum(axis=1, keepdims=True)
    return mixed


def _gelu(x: Array) -> Array:
    """Hendrycks and Gimpel 2016 (https://arxiv.org/abs/1606.08415), not its approximation."""
    return x * 0.5 * (1 + np.asarray(_erf(x / math.sqrt(2)), np.float64))
