"""Products in each precision against NumPy."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from sparsegate_server.models.arithmetic import IntegerArithmetic, arithmetic
from sparsegate_server.models.graph import GraphBuilder
from sparsegate_server.models.spec import Precision

Array = NDArray[np.float32]

WIDE = 256


def session(
    graph: GraphBuilder, value: str, dtype: str = "float32"
) -> onnxruntime.InferenceSession:
    graph.output(graph.cast(value, dtype), "y", dtype, ["batch", "length", "out"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        graph.build("test"), options, providers=["CPUExecutionProvider"]
    )


def product(precision: Precision, h: Array, weight: Array) -> Array:
    graph = GraphBuilder()
    numbers = arithmetic(graph, precision)
    states = graph.cast(graph.input("h", "float32", ["batch", "length", "in"]), numbers.dtype)
    found = session(graph, numbers.product(states, weight, "weight")).run(None, {"h": h})[0]
    return np.asarray(found, np.float32)


def slow_integers(h: Array, weight: Array) -> NDArray[np.float64]:
    """What 8-bit products mean: both sides rounded to their steps, then multiplied exactly."""
    step = np.maximum(np.abs(h).max(axis=-1, keepdims=True), 1e-20).astype(np.float64) / 127
    scale = np.maximum(np.abs(weight).max(axis=0), 1e-20).astype(np.float64) / 63
    return (np.rint(h / step) * step) @ (np.rint(weight / scale) * scale)


@given(
    arrays.arrays(np.float32, (2, 3, WIDE), elements=st.floats(-8, 8, width=16)),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_integers_are_rounded_states_times_rounded_weights(h: Array, seed: int) -> None:
    weight = np.random.default_rng(seed).normal(size=(WIDE, WIDE)).astype(np.float32)
    expected = slow_integers(h, weight)
    # A state between two steps may be rounded either way.
    step = np.abs(h).max(axis=-1, keepdims=True) / 127
    either = 1.01 * step * np.abs(weight).max(axis=0)
    assert (np.abs(product("int8", h, weight) - expected) <= 3 * either + 1e-4).all()


def test_integers_do_not_overflow() -> None:
    """The greatest states and weights of one sign, as many as a wide layer has."""
    h = np.ones((1, 1, 3072), np.float32)
    weight = np.ones((3072, WIDE), np.float32)
    np.testing.assert_allclose(product("int8", h, weight), 3072, rtol=1e-5)
    np.testing.assert_allclose(product("int8", -h, weight), -3072, rtol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), [(8, WIDE), (WIDE, 8)])
def test_a_narrow_product_stays_in_float32(inputs: int, outputs: int) -> None:
    random = np.random.default_rng(1)
    h = random.normal(size=(1, 2, inputs)).astype(np.float32)
    weight = random.normal(size=(inputs, outputs)).astype(np.float32)
    np.testing.assert_allclose(product("int8", h, weight), h @ weight, rtol=1e-4, atol=1e-4)


def test_a_delicate_product_stays_in_float32() -> None:
    random = np.random.default_rng(5)
    h = random.normal(size=(1, 2, WIDE)).astype(np.float32)
    weight = random.normal(size=(WIDE, WIDE)).astype(np.float32)
    graph = GraphBuilder()
    states = graph.input("h", "float32", ["batch", "length", WIDE])
    value = arithmetic(graph, "int8").product(states, weight, "weight", delicate=True)
    found = session(graph, value).run(None, {"h": h})[0]
    np.testing.assert_allclose(found, h @ weight, rtol=1e-4, atol=1e-4)


def test_half_precision_rounds_both_sides() -> None:
    random = np.random.default_rng(2)
    h = random.normal(size=(1, 2, 8)).astype(np.float32)
    weight = random.normal(size=(8, 3)).astype(np.float32)
    expected = h.astype(np.float16).astype(np.float32) @ weight.astype(np.float16).astype(
        np.float32
    )
    np.testing.assert_allclose(product("fp16", h, weight), expected, rtol=2e-3, atol=1e-3)


def test_states_are_rounded_once_for_several_products() -> None:
    graph = GraphBuilder()
    numbers = IntegerArithmetic(graph)
    h = graph.input("h", "float32", ["batch", "length", WIDE])
    weight = np.ones((WIDE, WIDE), np.float32)
    both = [numbers.product(h, weight, name) for name in ("one", "other")]
    model = session(graph, graph.node("Add", *both))
    assert model.run(None, {"h": np.ones((1, 1, WIDE), np.float32)})[0] == pytest.approx(2 * WIDE)
    assert len(numbers._quantized) == 1


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("width", [8, WIDE])
def test_the_greatest_is_that_of_the_logits(precision: Precision, width: int) -> None:
    random = np.random.default_rng(3)
    h = random.normal(size=(2, 5, width)).astype(np.float32)
    table = random.normal(size=(30, width)).astype(np.float32)
    expected = (h @ table.T).max(axis=1)[:, 10:25]
    for method in ("greatest", "logits", "greatest_at"):
        graph = GraphBuilder()
        numbers = arithmetic(graph, precision)
        states = graph.cast(graph.input("h", "float32", ["batch", "length", width]), numbers.dtype)
        terms = (10, 25) if method == "logits" else ([(10, 20), (20, 25)],)
        value = getattr(numbers.decoder(table, "table"), method)(states, *terms)
        if method != "logits":
            value = graph.node("Unsqueeze", value, graph.integers(1))
        found = session(graph, value).run(None, {"h": h})[0].max(axis=1)
        if method == "greatest_at":
            # Of nearly equal tokens, rounding chooses.
            at = found.astype(np.int64)[:, None, :]
            found = np.take_along_axis(h @ table[10:25].T, at, axis=1)[:, 0]
        np.testing.assert_allclose(found, expected, atol=0.03 * np.abs(expected).max())


def test_hardly_a_logit_is_further_off_than_the_slack() -> None:
    random = np.random.default_rng(4)
    h = random.normal(size=(8, 16, 64)).astype(np.float32)
    table = random.normal(size=(500, 64)).astype(np.float32)
    graph = GraphBuilder()
    decoder = arithmetic(graph, "int8").decoder(table, "table")
    states = graph.input("h", "float32", ["batch", "length", 64])
    found = [decoder.greatest(states, [(0, 500)]), decoder.slack(states)]
    stacked = graph.node(
        "Concat", *(graph.node("Unsqueeze", x, graph.integers(1)) for x in found), axis=1
    )
    greatest, slack = np.moveaxis(session(graph, stacked).run(None, {"h": h})[0], 1, 0)
    short = (h @ table.T).max(axis=1) - greatest
    assert 0 < (short > slack).mean() < 0.03
    assert (short <= 2 * slack).all()
    # It would be worth nothing if it were as large as the logits.
    assert slack.max() < 0.1 * greatest.mean()


@given(
    states=arrays.arrays(np.float32, (2, 3, 8), elements=st.floats(-8, 8, width=16)),
    rows=arrays.arrays(np.float32, (9, 8), elements=st.floats(-2, 2, width=16)),
    power=st.integers(-6, 6),
)
@settings(max_examples=50, deadline=None)
def test_no_logit_is_further_off_than_the_slack_of_a_screen(
    states: Array, rows: Array, power: int
) -> None:
    # One term far longer or shorter than the others, and one text than the other.
    rows[0] *= np.float32(10.0**power)
    states[1] *= np.float32(10.0**-power)
    greatest, slack = screen(states, rows)
    exact = (states.astype(np.float64) @ rows.T.astype(np.float64)).max(axis=1)
    assert (np.abs(exact - greatest) <= slack + 1e-12).all()


def test_the_slack_of_a_screen_is_small_beside_the_logits() -> None:
    random = np.random.default_rng(6)
    states = random.normal(size=(4, 32, 128)).astype(np.float32)
    rows = random.normal(size=(500, 128)).astype(np.float32)
    greatest, slack = screen(states, rows)
    assert slack.max() < 0.25 * greatest.mean()


def test_a_screen_does_not_overflow() -> None:
    ones = np.ones((1, 1, 3072), np.float32)
    for sign in (1, -1):
        greatest, _ = screen(sign * ones, ones[0])
        np.testing.assert_allclose(greatest, sign * 3072, rtol=1e-5)


def screen(states: Array, rows: Array) -> Array:
    """Of a decoder with a screen, the greatest products and their slack."""
    graph = GraphBuilder()
    terms = len(rows)
    decoder = arithmetic(graph, "fp32", screened=True).decoder(rows, "table")
    h = graph.input("h", "float32", ["batch", "length", rows.shape[1]])
    both = [
        graph.node("Unsqueeze", value, graph.integers(0))
        for value in (decoder.greatest(h, [(0, terms)]), decoder.slack(h))
    ]
    found = session(graph, graph.node("Concat", *both, axis=0)).run(None, {"h": states})
    return np.asarray(found[0], np.float32)
