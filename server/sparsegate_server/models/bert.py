"""BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805) as ONNX nodes.

`h` stands for a hidden state, float32 [batch, length, hidden].
"""

from __future__ import annotations

import math

import numpy as np

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.checkpoint import Checkpoint, Tensor
from sparsegate_server.models.graph import GraphBuilder

_WORDS = "bert.embeddings.word_embeddings.weight"

_MASKED = -1e9
"""Added to the attention scores of padding. Its exp is 0, and a row of padding stays finite."""


class BertWriter:
    """Writes the parts of one checkpoint into a graph."""

    def __init__(self, graph: GraphBuilder, checkpoint: Checkpoint) -> None:
        self._graph = graph
        self._tensors = checkpoint.tensors
        self._shape = checkpoint.shape

    def encoder(self, input_ids: str, attention_mask: str) -> str:
        """The last hidden state of int32 [batch, length] ids and mask."""
        g = self._graph
        mask = g.node("Unsqueeze", g.cast(attention_mask, "float32"), g.integers(1, 2))
        hidden_keys = g.node("Mul", g.node("Sub", g.scalar(1.0), mask), g.scalar(_MASKED))
        h = self._embeddings(input_ids)
        for layer in range(self._shape.layers):
            h = self._layer(h, hidden_keys, f"bert.encoder.layer.{layer}")
        return h

    def head_transform(self, h: str) -> str:
        """The masked-language-model head up to, and without, the decoder."""
        name = "cls.predictions.transform"
        h = self._graph.node("Gelu", self._dense(h, f"{name}.dense"))
        return self._norm(h, f"{name}.LayerNorm")

    def decoder(self) -> str:
        """float32 [vocabulary, hidden]: tied to the word embeddings where the file has none."""
        own = "cls.predictions.decoder.weight"
        return self._weight(own if own in self._tensors else _WORDS)

    def decoder_bias(self) -> str:
        """float32 [vocabulary]."""
        return self._weight("cls.predictions.bias")

    def _embeddings(self, input_ids: str) -> str:
        g = self._graph
        name = "bert.embeddings"
        # Every token is of segment 0, so that its embedding is one more constant of a position.
        places = (
            self._tensor(f"{name}.position_embeddings.weight")
            + self._tensor(f"{name}.token_type_embeddings.weight")[0]
        )
        length = g.node("Shape", input_ids, start=1, end=2)
        words = g.node("Gather", self._weight(_WORDS), input_ids)
        positions = g.node(
            "Slice", g.constant(places, f"{name}.positions"), g.integers(0), length, g.integers(0)
        )
        return self._norm(g.node("Add", words, positions), f"{name}.LayerNorm")

    def _layer(self, h: str, hidden_keys: str, name: str) -> str:
        g = self._graph
        context = self._attention(h, hidden_keys, f"{name}.attention.self")
        attended = self._dense(context, f"{name}.attention.output.dense")
        h = self._norm(g.node("Add", attended, h), f"{name}.attention.output.LayerNorm")
        inner = g.node("Gelu", self._dense(h, f"{name}.intermediate.dense"))
        outer = self._dense(inner, f"{name}.output.dense")
        return self._norm(g.node("Add", outer, h), f"{name}.output.LayerNorm")

    def _attention(self, h: str, hidden_keys: str, name: str) -> str:
        g = self._graph
        query = self._heads(h, f"{name}.query", [0, 2, 1, 3])
        key = self._heads(h, f"{name}.key", [0, 2, 3, 1])
        value = self._heads(h, f"{name}.value", [0, 2, 1, 3])
        scale = g.scalar(math.sqrt(self._shape.head_size))
        scores = g.node("Div", g.node("MatMul", query, key), scale)
        weights = g.node("Softmax", g.node("Add", scores, hidden_keys), axis=-1)
        joined = g.node("Transpose", g.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        return g.node("Reshape", joined, g.integers(0, 0, self._shape.hidden))

    def _heads(self, h: str, name: str, order: list[int]) -> str:
        """Projects and splits into heads: [batch, length, heads, head size], then transposed."""
        g = self._graph
        split = g.integers(0, 0, self._shape.heads, self._shape.head_size)
        return g.node("Transpose", g.node("Reshape", self._dense(h, name), split), perm=order)

    def _dense(self, h: str, name: str) -> str:
        g = self._graph
        # PyTorch keeps a linear layer's weight as [out, in].
        weight = g.constant(self._tensor(f"{name}.weight").T, f"{name}.weight")
        return g.node("Add", g.node("MatMul", h, weight), self._weight(f"{name}.bias"))

    def _norm(self, h: str, name: str) -> str:
        # Checkpoints that came from TensorFlow call the two gamma and beta.
        scale, shift = (
            old if old in self._tensors else new
            for old, new in (
                (f"{name}.gamma", f"{name}.weight"),
                (f"{name}.beta", f"{name}.bias"),
            )
        )
        return self._graph.node(
            "LayerNormalization",
            h,
            self._weight(scale),
            self._weight(shift),
            axis=-1,
            epsilon=self._shape.epsilon,
        )

    def _weight(self, name: str) -> str:
        return self._graph.constant(self._tensor(name), name)

    def _tensor(self, name: str) -> Tensor:
        try:
            return np.asarray(self._tensors[name], np.float32)
        except KeyError:
            raise ModelSourceError(f"the checkpoint has no tensor {name}") from None
