"""BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805) as ONNX nodes.

`h` stands for hidden states, [batch, length, hidden], float32 or, in half precision, float16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.arithmetic import Arithmetic, Decoder
from sparsegate_server.models.checkpoint import Checkpoint, Tensor
from sparsegate_server.models.graph import GraphBuilder

_WORDS = "bert.embeddings.word_embeddings.weight"

_MASKED = {"float32": -1e9, "float16": -1e4}
"""Added to the attention scores of padding. Its exp is 0, and a row of padding stays finite."""

_DROPPED = -1e4
"""The bias of terms that no vector has; no logit makes up for it, and float16 holds it."""


class BertWriter:
    """Writes the parts of one checkpoint into a graph."""

    def __init__(self, graph: GraphBuilder, checkpoint: Checkpoint, arithmetic: Arithmetic) -> None:
        self._graph = graph
        self._arithmetic = arithmetic
        self._dtype = arithmetic.dtype
        self._tensors = checkpoint.tensors
        self._shape = checkpoint.shape

    def encoder(self, input_ids: str, attention_mask: str) -> str:
        """The last hidden state of int32 [batch, length] ids and mask."""
        g = self._graph
        mask = g.node("Unsqueeze", g.cast(attention_mask, self._dtype), g.integers(1, 2))
        absent = g.node("Sub", self._scalar(1.0), mask)
        hidden_keys = g.node("Mul", absent, self._scalar(_MASKED[self._dtype]))
        h = self._embeddings(input_ids)
        for layer in range(self._shape.layers):
            h = self._layer(h, hidden_keys, f"bert.encoder.layer.{layer}")
        return h

    def head_transform(self, h: str) -> str:
        """The masked-language-model head up to, and without, the decoder."""
        name = "cls.predictions.transform"
        # A hundredth of a large encoder's products, and half the error that integers made.
        h = self._graph.node("Gelu", self._dense(h, f"{name}.dense", delicate=True))
        return self._norm(h, f"{name}.LayerNorm")

    def decoder(self) -> Decoder:
        """The terms' rows: tied to the word embeddings where the file has none of its own."""
        own = "cls.predictions.decoder.weight"
        name = own if own in self._tensors else _WORDS
        return self._arithmetic.decoder(self._tensor(name), name)

    def decoder_bias(self, dropped_terms: Sequence[int]) -> Tensor:
        """float32 [vocabulary], far below zero for dropped terms."""
        bias = self._tensor("cls.predictions.bias").copy()
        bias[list(dropped_terms)] = _DROPPED
        return bias

    def _embeddings(self, input_ids: str) -> str:
        g = self._graph
        name = "bert.embeddings"
        # Every token is of segment 0, so that its embedding is one more constant of a position.
        places = (
            self._tensor(f"{name}.position_embeddings.weight")
            + self._tensor(f"{name}.token_type_embeddings.weight")[0]
        )
        length = g.node("Shape", input_ids, start=1, end=2)
        words = g.node("Gather", self._table(self._tensor(_WORDS), _WORDS), input_ids)
        table = self._table(places, f"{name}.positions")
        positions = g.node("Slice", table, g.integers(0), length, g.integers(0))
        # Tables may be narrower than the states.
        words, positions = (g.cast(each, self._dtype) for each in (words, positions))
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
        scale = self._scalar(math.sqrt(self._shape.head_size))
        scores = g.node("Div", g.node("MatMul", query, key), scale)
        weights = g.node("Softmax", g.node("Add", scores, hidden_keys), axis=-1)
        joined = g.node("Transpose", g.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        return g.node("Reshape", joined, g.integers(0, 0, self._shape.hidden))

    def _heads(self, h: str, name: str, order: list[int]) -> str:
        """Projects and splits into heads: [batch, length, heads, head size], then transposed."""
        g = self._graph
        split = g.integers(0, 0, self._shape.heads, self._shape.head_size)
        return g.node("Transpose", g.node("Reshape", self._dense(h, name), split), perm=order)

    def _dense(self, h: str, name: str, *, delicate: bool = False) -> str:
        g = self._graph
        # PyTorch keeps a linear layer's weight as [out, in].
        weight = self._tensor(f"{name}.weight").T
        product = self._arithmetic.product(h, weight, f"{name}.weight", delicate=delicate)
        return g.node("Add", product, self._weight(f"{name}.bias"))

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
        return self._graph.constant(self._tensor(name).astype(self._dtype), name)

    def _table(self, rows: Tensor, name: str) -> str:
        return self._graph.constant(rows.astype(self._arithmetic.table_dtype), name)

    def _scalar(self, value: float) -> str:
        return self._graph.scalar(value, self._dtype)

    def _tensor(self, name: str) -> Tensor:
        try:
            return np.asarray(self._tensors[name], np.float32)
        except KeyError:
            raise ModelSourceError(f"the checkpoint has no tensor {name}") from None
