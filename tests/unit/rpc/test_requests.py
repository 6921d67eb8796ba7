"""Requests to plain values: options, selections, changes of payloads, the order of batches."""

from __future__ import annotations

from typing import Any

import pytest

from sparsegate.v1 import common_pb2, document_pb2, search_pb2
from sparsegate_server.errors import InvalidRequest, SparsegateError
from sparsegate_server.operations import PayloadChange, PayloadMode, Selection, StreamBatch
from sparsegate_server.rpc import selection
from sparsegate_server.rpc.changes import change_from
from sparsegate_server.rpc.options import options_from
from sparsegate_server.rpc.streams import BatchOrder
from sparsegate_server.settings import Limits

LIMITS = Limits()
VALUE = common_pb2.Value


def test_what_is_not_said_is_the_default() -> None:
    options = options_from(search_pb2.SearchRequest(), 10, LIMITS)
    assert (options.limit, options.offset, options.threshold, options.filter) == (10, 0, None, None)
    assert not options.idf


def test_a_threshold_of_zero_is_one() -> None:
    request = search_pb2.SearchRequest(score_threshold=0.0)
    assert options_from(request, 1, LIMITS).threshold == 0.0


@pytest.mark.parametrize(("limit", "offset"), [(10_000, 0), (1, 9_999), (5_000, 5_000)])
def test_the_last_hits_that_a_search_reaches(limit: int, offset: int) -> None:
    request = search_pb2.SearchRequest(offset=offset)
    assert options_from(request, limit, LIMITS).offset == offset


@pytest.mark.parametrize(
    ("limit", "offset", "field"), [(10_001, 0, "limit"), (1, 10_000, "offset")]
)
def test_further_pages_need_scroll(limit: int, offset: int, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        options_from(search_pb2.SearchRequest(offset=offset), limit, LIMITS)
    assert caught.value.field == field
    assert field == "limit" or "Scroll" in caught.value.message


def test_reads_return_texts_and_payloads_unless_told_otherwise() -> None:
    assert selection.of_read(document_pb2.GetDocumentsRequest()) == Selection(True, True, False)
    bare = document_pb2.ScrollDocumentsRequest(
        with_text=False, with_payload=False, with_vector=True, payload_exclude=["a"]
    )
    assert selection.of_read(bare) == Selection(False, False, True, exclude=frozenset({"a"}))


def test_searches_return_nothing_unless_told_otherwise() -> None:
    assert not selection.of_search(search_pb2.SearchRequest())
    named = search_pb2.SearchRequest(payload_include=["a", "b"])
    assert selection.of_search(named) == Selection(payload=True, include=frozenset({"a", "b"}))
    without = search_pb2.SearchRequest(payload_exclude=["a"])
    assert selection.of_search(without) == Selection(payload=True, exclude=frozenset({"a"}))


def change(mode: document_pb2.PayloadMode.ValueType, **fields: Any) -> PayloadChange:
    return change_from(document_pb2.SetPayloadRequest(mode=mode, **fields), LIMITS)


def test_changes_of_payloads() -> None:
    payload = {"a": VALUE(int_value=1)}
    merged = change(document_pb2.PAYLOAD_MODE_MERGE, payload=payload)
    assert merged == PayloadChange(PayloadMode.MERGE, {"a": 1})
    emptied = change(document_pb2.PAYLOAD_MODE_REPLACE)
    assert emptied == PayloadChange(PayloadMode.REPLACE)
    removed = change(document_pb2.PAYLOAD_MODE_REMOVE, keys=["a", "b"])
    assert removed == PayloadChange(PayloadMode.REMOVE, keys=("a", "b"))


@pytest.mark.parametrize(
    ("mode", "fields", "blamed"),
    [
        (document_pb2.PAYLOAD_MODE_MERGE, {}, "payload"),
        (document_pb2.PAYLOAD_MODE_REMOVE, {}, "keys"),
        (document_pb2.PAYLOAD_MODE_REPLACE, {"keys": ["a"]}, "keys"),
        (
            document_pb2.PAYLOAD_MODE_REMOVE,
            {"keys": ["a"], "payload": {"a": VALUE(int_value=1)}},
            "payload",
        ),
        (
            document_pb2.PAYLOAD_MODE_MERGE,
            {"payload": {"a": VALUE(string_value="x" * 70_000)}},
            "payload",
        ),
    ],
)
def test_changes_that_make_no_sense(
    mode: document_pb2.PayloadMode.ValueType, fields: dict[str, Any], blamed: str
) -> None:
    with pytest.raises(SparsegateError) as caught:
        change(mode, **fields)
    assert caught.value.field == blamed


def batch(number: int, stream: str = "s") -> document_pb2.UpsertStreamRequest:
    return document_pb2.UpsertStreamRequest(batch=number, stream=stream)


def test_batches_of_a_named_stream_ascend() -> None:
    order = BatchOrder()
    assert order.next(batch(3)) == StreamBatch("s", 3)
    assert order.next(batch(5)) == StreamBatch("s", 5)
    for again in (5, 4, 0):
        with pytest.raises(InvalidRequest) as caught:
            order.next(batch(again))
        assert caught.value.field == "batch"
    with pytest.raises(InvalidRequest) as renamed:
        order.next(batch(6, "t"))
    assert renamed.value.field == "stream"


def test_batches_begin_at_one() -> None:
    with pytest.raises(InvalidRequest, match="ascend"):
        BatchOrder().next(batch(0))


def test_a_stream_without_a_name_numbers_as_it_likes() -> None:
    order = BatchOrder()
    assert [order.next(batch(number, "")) for number in (7, 7, 0)] == [None, None, None]
    with pytest.raises(InvalidRequest):
        order.next(batch(8))
