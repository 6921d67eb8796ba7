"""Ids, vectors and documents, there and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegate import Document, InvalidArgument, SparseVector
from sparsegate._messages import (
    read_document,
    read_id,
    read_vector,
    write_document,
    write_id,
    write_ids,
    write_vector,
)
from sparsegate.v1 import common_pb2 as pb


@given(st.integers(0, 2**64 - 1) | st.sampled_from([0, 2**64 - 1]) | st.text(min_size=1))
def test_an_id_comes_back_as_it_was_sent(id: int | str) -> None:
    back = read_id(pb.DocumentId.FromString(write_id(id).SerializeToString()))
    assert back == id
    assert type(back) is type(id)


def test_numbers_of_numpy_are_ids() -> None:
    assert read_id(write_id(np.uint64(2**64 - 1))) == 2**64 - 1  # type: ignore[arg-type]


@pytest.mark.parametrize("id", [-1, 2**64, True, 1.0, None, b"a", "\ud800"])
def test_anything_else_is_no_id(id: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        write_ids([1, id])
    assert caught.value.field == "ids[1]"


def test_a_single_id_is_no_sequence_of_its_letters() -> None:
    with pytest.raises(TypeError, match="list"):
        write_ids("abc")


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_vectors_are_any_sequences_of_numbers(kind: Any) -> None:
    message = write_vector(SparseVector(kind([3, 70000]), kind([0.5, 1.25]), "f"))
    assert read_vector(message) == SparseVector((3, 70000), (0.5, 1.25), "f")


@pytest.mark.parametrize(
    ("vector", "field"),
    [
        (SparseVector([-1], [1.0]), "vector.indices"),
        (SparseVector([2**32], [1.0]), "vector.indices"),
        (SparseVector(["a"], [1.0]), "vector.indices"),  # type: ignore[list-item]
        (SparseVector([1], ["a"]), "vector.values"),  # type: ignore[list-item]
        (SparseVector([1], None), "vector.values"),  # type: ignore[arg-type]
    ],
)
def test_other_vectors_are_refused_by_their_path(vector: SparseVector, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        write_vector(vector)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "document",
    [
        Document(1, "text", SparseVector((1,), (0.5,)), {"a": [1, {"b": None}]}),
        Document("1", ""),
        Document(2, None, SparseVector((), ())),
        Document(3),
    ],
)
def test_a_document_comes_back_as_it_was_sent(document: Document) -> None:
    message = pb.Document.FromString(write_document(document).SerializeToString())
    assert read_document(message) == document
