"""Payloads come back as they were sent."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegate import InvalidArgument
from sparsegate._payload import INT64_MAX, INT64_MIN, MAX_DEPTH, read_payload, write_payload
from sparsegate.v1 import common_pb2 as pb

scalars = (
    st.none()
    | st.booleans()
    | st.integers(INT64_MIN, INT64_MAX)
    | st.sampled_from([INT64_MIN, INT64_MAX, 2**53 + 1])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


def travel(payload: dict[str, Any]) -> dict[str, Any]:
    document = pb.Document()
    write_payload(document.payload, payload)
    return read_payload(pb.Document.FromString(document.SerializeToString()).payload)


def same(left: Any, right: Any) -> bool:
    """Equal, and of equal types: 1, 1.0 and True are three values."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return bool(left == right)


@given(st.dictionaries(st.text(), values))
def test_a_payload_comes_back_as_it_was_sent(payload: dict[str, Any]) -> None:
    assert same(travel(payload), payload)


def test_empty_lists_and_mappings_are_values() -> None:
    assert travel({"a": [], "b": {}, "c": [[], {}, None]}) == {
        "a": [],
        "b": {},
        "c": [[], {}, None],
    }


def test_tuples_come_back_as_lists() -> None:
    assert travel({"a": (1, (2,))}) == {"a": [1, [2]]}


def test_keys_come_back_sorted() -> None:
    assert list(travel(dict.fromkeys("cabd", 1))) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("payload", "field", "message"),
    [
        ({"a": {"b": [0, 2**63]}}, "payload.a.b[1]", "signed 64-bit"),
        ({"a": -(2**63) - 1}, "payload.a", "signed 64-bit"),
        ({"a": [math.nan]}, "payload.a[0]", "not a finite number"),
        ({"a": -math.inf}, "payload.a", "not a finite number"),
        ({"a": b"bytes"}, "payload.a", "cannot hold a bytes"),
        ({"a": {"b": {1, 2}}}, "payload.a.b", "cannot hold a set"),
        ({"a": {1: 2}}, "payload.a", "key 1 is not a string"),
        ({"a": "\ud800"}, "payload.a", "lone surrogate"),
        ({"\ud800": 1}, "payload", "lone surrogate"),
    ],
)
def test_what_the_wire_cannot_carry_is_refused_by_its_path(
    payload: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message) as caught:
        travel(payload)
    assert caught.value.field == field
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith(f"{field}: ")


def nested(levels: int, wrap: Any) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"k": v}])
def test_the_deepest_nesting_survives_the_parser(wrap: Any) -> None:
    payload = {"a": nested(MAX_DEPTH, wrap)}
    document = pb.Document()
    write_payload(document.payload, payload)
    # The deepest place of a document on the wire.
    from sparsegate.v1 import document_pb2  # noqa: PLC0415

    request = document_pb2.UpsertStreamRequest()
    request.upsert.documents.append(document)
    parsed = document_pb2.UpsertStreamRequest.FromString(request.SerializeToString())
    assert read_payload(parsed.upsert.documents[0].payload) == payload
    with pytest.raises(InvalidArgument, match="nested deeper"):
        travel({"a": nested(MAX_DEPTH + 1, wrap)})
