"""Matrix products of a graph in each precision: float32, float16, and 8-bit integers.

The integers follow Dettmers et al. 2022 (https://arxiv.org/abs/2208.07339, section 2) in giving
each token a scale of its own. A text's numbers then depend on neither its neighbours in a batch
nor the padding, as they would with one scale for the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.models.graph import GraphBuilder
from sparsegate_server.models.spec import Precision

Array = NDArray[np.float32]
Blocks: TypeAlias = Sequence[tuple[int, int]]
"""First terms and ends of blocks that follow one another."""

_STATE_ZERO, _SIGNED_ZERO = np.uint8(128), np.int8(0)
"""Of states on the left of a product, and on the right."""
_ACTIVATION_LEVELS = 127
_WEIGHT_ZERO = np.uint8(64)
_WEIGHT_LEVELS = 63
"""Seven bits: on processors without VNNI, onnxruntime adds two products of an 8-bit activation and
a weight in 16 bits, which weights of eight bits overflow without a word. With seven bits of
activations instead, vectors were less exact."""
_NARROWEST = 256
"""Products with fewer inputs or outputs stay in float32: with BERT-tiny's 128, integers saved no
time, and made nearly all of the error."""
_DEVIATIONS = 2.0
"""Of rounding, that a term's logit may be away from zero and still be looked at."""
_FLOAT_ERROR = 1e-4
"""More than float32 sums of products are off, as a share of the two vectors' lengths."""
_SMALLEST = 1e-20
"""Stands for the greatest absolute value of a token that is zero everywhere."""


class Decoder(Protocol):
    """The products of hidden states with the terms' rows, a block of terms at a time.

    What is greatest over the tokens comes of rows times states, not of states times rows as
    `logits` does, so that a term's logits lie side by side. The products take as long, and
    onnxruntime's ReduceMax along the last axis does not: 0.2 ms for the 128 tokens of one text,
    where across rows it is 6.7 ms. Numbers are the same to the last bit.

    Attributes:
        rounded: whether `greatest` only tells, with `slack`, which terms can matter; the logits of
            those are to be had from `rows`.
    """

    rounded: bool

    def logits(self, h: str, start: int, end: int) -> str:
        """Without bias, [batch, length, end - start]."""
        ...

    def greatest(self, h: str, blocks: Blocks) -> str:
        """The greatest logit over the tokens, without bias, float32 [batch, terms]."""
        ...

    def greatest_at(self, h: str, blocks: Blocks) -> str:
        """The token that has it, the first of several, int64 [batch, terms]."""
        ...

    def slack(self, h: str) -> str:
        """By how much rounding may make `greatest` too small, float32 [batch, vocabulary]."""
        ...

    def rows(self, terms: str) -> str:
        """Rows of int64 [batch, k] terms as they were trained, [batch, k, hidden]."""
        ...


class Arithmetic(Protocol):
    """How one graph multiplies.

    Attributes:
        dtype: of hidden states.
        table_dtype: of embedding tables, which are only looked up.
    """

    dtype: str
    table_dtype: str

    def product(self, h: str, weight: Array, name: str, *, delicate: bool = False) -> str:
        """h · weight, weight being float32 [in, out]; a delicate one is never of integers."""
        ...

    def decoder(self, table: Array, name: str) -> Decoder:
        """The decoder of float32 [vocabulary, hidden]."""
        ...


def arithmetic(graph: GraphBuilder, precision: Precision, *, screened: bool = False) -> Arithmetic:
    """The arithmetic of a precision.

    Args:
        screened: whether integers may choose the terms whose float32 logits are computed.
    """
    match precision:
        case "fp32":
            return FloatArithmetic(graph, "float32", screened=screened)
        case "fp16":
            return FloatArithmetic(graph, "float16")
        case "int8":
            return IntegerArithmetic(graph)


class FloatArithmetic:
    """Floating point throughout, but for a screen of the decoder's."""

    def __init__(self, graph: GraphBuilder, dtype: str, *, screened: bool = False) -> None:
        self._graph = graph
        self._screened = screened
        self.dtype = self.table_dtype = dtype

    def product(self, h: str, weight: Array, name: str, *, delicate: bool = False) -> str:  # noqa: ARG002
        constant = self._graph.constant(weight.astype(self.dtype), name)
        return self._graph.node("MatMul", h, constant)

    def decoder(self, table: Array, name: str) -> Decoder:
        exact = _FloatDecoder(self._graph, self._graph.constant(table.astype(self.dtype), name))
        return _ScreenedDecoder(self._graph, exact, table, name) if self._screened else exact


class _FloatDecoder:
    rounded = False

    def __init__(self, graph: GraphBuilder, table: str) -> None:
        self._graph = graph
        self._table = table
        self._transposed: dict[str, str] = {}

    def logits(self, h: str, start: int, end: int) -> str:
        return self._graph.node("MatMul", h, _columns(self._graph, self._table, start, end))

    def greatest(self, h: str, blocks: Blocks) -> str:
        # Joined before the cast, they would be rounded to half precision on processors as well.
        g = self._graph
        greatest = [g.cast(each, "float32") for each in _greatest(g, self._by_term(h, blocks))]
        return g.node("Concat", *greatest, axis=1)

    def greatest_at(self, h: str, blocks: Blocks) -> str:
        return _greatest_at(self._graph, self._by_term(h, blocks))

    def slack(self, h: str) -> str:  # noqa: ARG002
        return self._graph.scalar(0.0)

    def rows(self, terms: str) -> str:
        return self._graph.node("Gather", self._table, terms)

    def _by_term(self, h: str, blocks: Blocks) -> list[str]:
        """[batch, end - start, length] of each block. Onnxruntime computes equal nodes once."""
        g = self._graph
        if h not in self._transposed:
            self._transposed[h] = g.node("Transpose", h, perm=[0, 2, 1])
        rows = [_rows(g, self._table, start, end) for start, end in blocks]
        return [g.node("MatMul", each, self._transposed[h]) for each in rows]


class IntegerArithmetic:
    """Products of 8-bit integers; everything between them in float32."""

    dtype = "float32"
    table_dtype = "float16"

    def __init__(self, graph: GraphBuilder) -> None:
        self._graph = graph
        self._quantized: dict[str, tuple[str, str]] = {}

    def product(self, h: str, weight: Array, name: str, *, delicate: bool = False) -> str:
        g = self._graph
        if delicate or min(weight.shape) < _NARROWEST:
            return g.node("MatMul", h, g.constant(weight, name))
        integers, scales = _quantize(weight.T)
        # The same states are multiplied by the weights of queries, keys and values.
        if h not in self._quantized:
            self._quantized[h] = quantize(g, h, [2])
        product = multiply(g, self._quantized[h], g.constant(integers.T, f"{name}.int8"))
        return g.node("Mul", product, g.constant(scales, f"{name}.scales"))

    def decoder(self, table: Array, name: str) -> Decoder:
        return _IntegerDecoder(self._graph, table, name)


class _IntegerDecoder:
    rounded = True

    def __init__(self, graph: GraphBuilder, table: Array, name: str) -> None:
        self._lengths = np.linalg.norm(table, axis=1)
        self._screen = _Screen(graph, table, name)
        self._name = name
        self._graph = graph
        # Where it is the embeddings' table too, the graph has it already.
        dtype = IntegerArithmetic.table_dtype
        self._rows = graph.constant(table.astype(dtype), name)
        self._by_token: dict[str, tuple[str, str]] = {}

    def logits(self, h: str, start: int, end: int) -> str:
        g = self._graph
        if h not in self._by_token:
            self._by_token[h] = quantize(g, h, [2])
        table = g.constant(self._screen.integers, f"{self._name}.int8")
        product = multiply(g, self._by_token[h], _columns(g, table, start, end))
        return g.node("Mul", product, g.constant(self._screen.scales[start:end]))

    def greatest(self, h: str, blocks: Blocks) -> str:
        return self._screen.greatest(h, blocks)

    def greatest_at(self, h: str, blocks: Blocks) -> str:
        return self._screen.greatest_at(h, blocks)

    def slack(self, h: str) -> str:
        """Rounding errors are even over a step: a product of n has the deviation that is here."""
        g = self._graph
        _, step = self._screen.states(h)
        of_states = g.node("Mul", step, g.constant(self._lengths))
        of_weights = g.node("Mul", _longest(g, h), g.constant(self._screen.scales))
        both = g.node("Squeeze", g.node("Add", of_states, of_weights), g.integers(1))
        return g.node("Mul", both, g.scalar(_DEVIATIONS / math.sqrt(12)))

    def rows(self, terms: str) -> str:
        return self._graph.cast(self._graph.node("Gather", self._rows, terms), "float32")


class _ScreenedDecoder:
    """Float32, where integers leave out the terms that surely are below zero.

    With ŵ and ĥ for what is rounded, |w · h - ŵ · ĥ| ≤ ‖ŵ‖ ‖h - ĥ‖ + ‖w - ŵ‖ ‖h‖ by the inequality
    of Cauchy and Schwarz, so that nothing can be missed. The bound is six times the slack that
    `_IntegerDecoder` makes do with, and yet three terms pass it for each that has a weight: for a
    text of 135 tokens, with splade-tiny, 771 of 30,522.
    """

    rounded = True

    def __init__(self, graph: GraphBuilder, exact: _FloatDecoder, table: Array, name: str) -> None:
        self._graph = graph
        self._screen = _Screen(graph, table, name)
        rounded = self._screen.integers * self._screen.scales[:, None]
        self._lengths = np.linalg.norm(rounded, axis=1)
        self._errors = np.linalg.norm(table - rounded, axis=1)
        self._name = name
        self.logits, self.rows, self.greatest_at = exact.logits, exact.rows, exact.greatest_at

    def greatest(self, h: str, blocks: Blocks) -> str:
        return self._screen.greatest(h, blocks)

    def slack(self, h: str) -> str:
        g = self._graph
        integers, step = self._screen.states(h)
        rounded = g.node("Mul", g.cast(integers, "float32"), step)
        longest = _longest(g, h)
        error = _longest(g, g.node("Sub", h, rounded))
        error = g.node("Add", error, g.node("Mul", longest, g.scalar(_FLOAT_ERROR)))
        of_states = g.node("Mul", error, g.constant(self._lengths, f"{self._name}.lengths"))
        of_weights = g.node("Mul", longest, g.constant(self._errors, f"{self._name}.errors"))
        return g.node("Squeeze", g.node("Add", of_states, of_weights), g.integers(1))


class _Screen:
    """Integer products of all terms, with one scale a text.

    Attributes:
        integers: int8 [vocabulary, hidden].
        scales: float32 [vocabulary].
    """

    def __init__(self, graph: GraphBuilder, table: Array, name: str) -> None:
        self._graph = graph
        self._name = name
        self.integers, self.scales = _quantize(table)
        self._quantized: dict[str, tuple[str, str]] = {}

    def greatest(self, h: str, blocks: Blocks) -> str:
        """See `Decoder.greatest`: the maximum is taken of integers, and only it is scaled."""
        g = self._graph
        greatest = g.node("Concat", *_greatest(g, self._by_term(h, blocks)), axis=1)
        scale = g.node("Squeeze", self.states(h)[1], g.integers(2))
        scaled = g.node("Mul", g.cast(greatest, "float32"), scale)
        return g.node("Mul", scaled, g.constant(self.scales[blocks[0][0] : blocks[-1][1]]))

    def greatest_at(self, h: str, blocks: Blocks) -> str:
        """See `Decoder.greatest_at`."""
        return _greatest_at(self._graph, self._by_term(h, blocks))

    def states(self, h: str) -> tuple[str, str]:
        """int8 of h's shape and one scale a text, [batch, 1, 1]."""
        if h not in self._quantized:
            self._quantized[h] = quantize(self._graph, h, [1, 2], _SIGNED_ZERO)
        return self._quantized[h]

    def _by_term(self, h: str, blocks: Blocks) -> list[str]:
        """int32 [batch, end - start, length] of each block.

        Onnxruntime takes 18 times as long where the left side has a sign, hence the shift.
        """
        g = self._graph
        shifted = (self.integers.astype(np.int16) + _WEIGHT_ZERO).astype(np.uint8)
        table = g.constant(shifted, f"{self._name}.uint8")
        rows = [_rows(g, table, start, end) for start, end in blocks]
        states = g.node("Transpose", self.states(h)[0], perm=[0, 2, 1])
        zeros = [_zero(g, _WEIGHT_ZERO), _zero(g, _SIGNED_ZERO)]
        return [g.node("MatMulInteger", each, states, *zeros) for each in rows]


def _greatest(graph: GraphBuilder, by_term: Sequence[str]) -> list[str]:
    g = graph
    return [g.node("ReduceMax", each, g.integers(2), keepdims=0) for each in by_term]


def _greatest_at(graph: GraphBuilder, by_term: Sequence[str]) -> str:
    blocks = [graph.node("ArgMax", each, axis=2, keepdims=0) for each in by_term]
    return graph.node("Concat", *blocks, axis=1)


def _longest(graph: GraphBuilder, h: str) -> str:
    """The length of each text's longest state, [batch, 1, 1]."""
    g = graph
    return g.node("ReduceMax", g.node("ReduceL2", h, g.integers(2)), g.integers(1))


def quantize(
    graph: GraphBuilder, h: str, axes: list[int], zero: np.uint8 | np.int8 = _STATE_ZERO
) -> tuple[str, str]:
    """Float32 states as 8-bit integers with a scale for each slice along `axes`.

    Returns:
        Integers of zero's type and h's shape, and float32 scales: h ≈ (integers - zero) · scale.
    """
    g = graph
    greatest = g.node("ReduceMax", g.node("Abs", h), g.integers(*axes), keepdims=1)
    greatest = g.node("Max", greatest, g.scalar(_SMALLEST))
    step = g.scalar(1 / _ACTIVATION_LEVELS)
    relative = g.node("Div", h, greatest)
    integers = g.node("QuantizeLinear", relative, step, _zero(g, zero))
    return integers, g.node("Mul", greatest, step)


def multiply(graph: GraphBuilder, quantized: tuple[str, str], weight: str) -> str:
    """float32 product of `quantize`'s result and int8 weights, without the weights' scales."""
    integers, scale = quantized
    product = graph.node("MatMulInteger", integers, weight, _zero(graph, _STATE_ZERO))
    return graph.node("Mul", graph.cast(product, "float32"), scale)


def _zero(graph: GraphBuilder, zero: np.uint8 | np.int8) -> str:
    return graph.constant(np.array(zero), f"{zero.dtype}_{zero}")


def _quantize(rows: Array) -> tuple[NDArray[np.int8], Array]:
    """int8 [n, m] and one float32 scale a row: rows ≈ integers · scale."""
    scales = np.maximum(np.abs(rows).max(axis=1), _SMALLEST) / np.float32(_WEIGHT_LEVELS)
    integers = np.rint(rows / scales[:, None]).astype(np.int8)
    return integers, scales.astype(np.float32)


def _columns(graph: GraphBuilder, table: str, start: int, end: int) -> str:
    """Rows start to end of a table as columns: constant, and so made once, at loading."""
    return graph.node("Transpose", _rows(graph, table, start, end), perm=[1, 0])


def _rows(graph: GraphBuilder, table: str, start: int, end: int) -> str:
    g = graph
    return g.node("Slice", table, g.integers(start), g.integers(end), g.integers(0))
