"""Replies that lie are found out; those that do not pass untouched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparsegate_server.errors import InferenceFailed
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.dummy import DummyBackend
from sparsegate_server.inference.reply import check
from sparsegate_server.models.spec import ModelIdentity, ModelSpec, Output

VOCABULARY = 50
Reply = dict[str, NDArray[Any]]


def spec(output: Output = "terms", max_terms: int = 20, positions: bool = False) -> ModelSpec:
    identity = ModelIdentity("splade", "0" * 64, "0" * 64, VOCABULARY, max_terms=max_terms)
    return ModelSpec("m", identity, output=output, positions=positions)


def batch(rows: int = 2, length: int = 16) -> TokenBatch:
    ids = np.arange(1, rows * length + 1, dtype=np.int32).reshape(rows, length) % VOCABULARY
    return TokenBatch(ids, np.ones_like(ids))


def terms(values: list[list[float]], indices: list[list[int]]) -> Reply:
    return {"indices": np.array(indices, np.uint16), "values": np.array(values, np.float32)}


def good() -> Reply:
    return terms([[3, 2, 1], [2, 0, 0]], [[7, 8, 9], [4, 4, 4]])


@pytest.mark.parametrize("positions", [False, True])
@pytest.mark.parametrize("output", ["terms", "pooled", "logits"])
@given(rows=st.integers(1, 5), length=st.sampled_from([16, 32]))
async def test_what_a_backend_gives_passes(
    output: Output, positions: bool, rows: int, length: int
) -> None:
    model, asked = spec(output, positions=positions), batch(rows, length)
    reply = dict(await DummyBackend().infer(model, asked))
    assert check(model, asked, reply) == reply


def test_ids_past_a_rows_own_count_mean_nothing() -> None:
    check(spec(), batch(), good())


def test_an_empty_reply_of_the_right_shape_passes() -> None:
    check(spec(), batch(), terms([[], []], [[], []]))


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ({**good(), "values": None}, "no output 'values'"),
        (terms([[1.0]], [[1]]), "for 1 texts and not for 2"),
        ({**good(), "values": np.ones((2, 3), np.float64)}, "values of float64"),
        ({**good(), "indices": np.ones((2, 3), np.int64)}, "indices of int64"),
        ({**good(), "indices": np.ones(2, np.uint16)}, "indices of uint16"),
        ({**good(), "indices": np.ones((2, 4), np.uint16)}, "with 3 for 4"),
        (terms([[np.nan, 1], [1, 0]], [[1, 2], [1, 2]]), "not finite"),
        (terms([[np.inf, 1], [1, 0]], [[1, 2], [1, 2]]), "not finite"),
        (terms([[1, -1], [1, 0]], [[1, 2], [1, 2]]), "negative"),
        (terms([[1, 2], [1, 0]], [[1, 2], [1, 2]]), "do not descend"),
        (terms([[2, 1], [1, 0]], [[1, VOCABULARY], [1, 2]]), "term 50 of 50"),
        (terms([[2, 1], [1, 0]], [[5, 5], [1, 2]]), "a term twice"),
    ],
)
def test_a_lie_about_terms(reply: dict[str, Any], words: str) -> None:
    with pytest.raises(InferenceFailed, match=words) as found:
        check(spec(), batch(), reply)
    assert "export the model again" in found.value.message


def test_more_terms_than_the_cap_allows() -> None:
    reply = terms([[3, 2, 1], [2, 0, 0]], [[7, 8, 9], [4, 4, 4]])
    check(spec(max_terms=2), batch(), reply)
    with pytest.raises(InferenceFailed, match="3 terms of at most 2"):
        check(spec(max_terms=1), batch(), reply)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers(number: float) -> None:
    logits = np.zeros((2, 16, VOCABULARY), np.float32)
    check(spec("logits"), batch(), {"logits": logits})
    logits[1, 3, 5] = number
    with pytest.raises(InferenceFailed, match="not finite"):
        check(spec("logits"), batch(), {"logits": logits})


@pytest.mark.parametrize(
    ("number", "words"), [(np.nan, "not finite"), (np.inf, "not finite"), (-1, "negative")]
)
def test_pooled_weights_that_are_none(number: float, words: str) -> None:
    pooled = np.zeros((2, VOCABULARY), np.float32)
    check(spec("pooled"), batch(), {"pooled": pooled})
    pooled[1, 5] = number
    with pytest.raises(InferenceFailed, match=words):
        check(spec("pooled"), batch(), {"pooled": pooled})


def test_a_position_past_the_text() -> None:
    positions = np.array([[15, 3, 2], [0, 0, 0]], np.uint16)
    model = spec(positions=True)
    check(model, batch(), {**good(), "positions": positions})
    positions[0, 0] = 16
    with pytest.raises(InferenceFailed, match="position 16 of 16 tokens"):
        check(model, batch(), {**good(), "positions": positions})


@pytest.mark.parametrize("shape", [(2, 16, 49), (2, 15, 50), (1, 16, 50), (2, 800)])
def test_logits_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(InferenceFailed, match="has logits"):
        check(spec("logits"), batch(), {"logits": np.zeros(shape, np.float32)})


@given(st.data())
def test_repetitions_are_found_as_by_counting(data: st.DataObject) -> None:
    """The oracle looks at every row with a set."""
    rows, k = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    indices = data.draw(
        st.lists(st.lists(st.integers(0, 9), min_size=k, max_size=k), min_size=rows, max_size=rows)
    )
    counts = data.draw(st.lists(st.integers(0, k), min_size=rows, max_size=rows))
    values = [[float(k - at) if at < count else 0.0 for at in range(k)] for count in counts]
    twice = any(len(set(row[:count])) < count for row, count in zip(indices, counts, strict=True))
    reply = terms(values, indices)
    if twice:
        with pytest.raises(InferenceFailed, match="twice"):
            check(spec(), batch(rows), reply)
    else:
        check(spec(), batch(rows), reply)
