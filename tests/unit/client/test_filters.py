"""Filters in the client's words, and in JSON's."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import typer

from sparsegate import InvalidArgument
from sparsegate._filters import write_filter
from sparsegate.cli.criteria import parse_filter, parse_target
from sparsegate.cli.options import IdType
from sparsegate.filters import (
    Contains,
    DatetimeRange,
    Except,
    Filter,
    HasId,
    IsEmpty,
    IsNull,
    Match,
    MatchText,
    MinShould,
    Nested,
    Range,
)

JSON = {
    "nothing": ({}, Filter()),
    "one condition": ({"is_null": "f"}, Filter(must=(IsNull("f"),))),
    "values": (
        {
            "must": [
                {"field": "color", "match": "red"},
                {"field": "color", "match": ["red", "blue"]},
                {"field": "n", "match": 5},
                {"field": "ok", "match": True},
                {"field": "color", "except": ["red"]},
                {"field": "color", "except": 1.5},
            ]
        },
        Filter(
            must=(
                Match("color", "red"),
                Match("color", any=["red", "blue"]),
                Match("n", 5),
                Match("ok", True),
                Except("color", any=["red"]),
                Except("color", 1.5),
            )
        ),
    ),
    "bounds": (
        {
            "should": [
                {"field": "year", "range": {"gte": 1980, "lt": 1990.5}},
                {"field": "at", "datetime": {"gt": "2020-01-01T00:00:00Z"}},
            ]
        },
        Filter(
            should=(
                Range("year", gte=1980, lt=1990.5),
                DatetimeRange("at", gt="2020-01-01T00:00:00Z"),
            )
        ),
    ),
    "words": (
        {"must_not": [{"field": "t", "text": "rock band"}, {"contains": "AB-12"}]},
        Filter(must_not=(MatchText("t", "rock band"), Contains("AB-12"))),
    ),
    "presence": (
        {"must": [{"is_empty": "f"}, {"has_id": [1, "b"]}, {"has_id": 7}]},
        Filter(must=(IsEmpty("f"), HasId((1, "b")), HasId((7,)))),
    ),
    "a list may be left out": ({"must": {"is_null": "f"}}, Filter(must=(IsNull("f"),))),
    "inside one another": (
        {
            "must": [
                {"should": [{"is_null": "a"}]},
                {"nested": {"field": "b[]", "filter": {"field": "c", "match": 1}}},
            ],
            "min_should": {"count": 1, "conditions": [{"is_null": "d"}]},
        },
        Filter(
            must=(
                Filter(should=(IsNull("a"),)),
                Nested("b[]", Filter(must=(Match("c", 1),))),
            ),
            min_should=MinShould((IsNull("d"),), 1),
        ),
    ),
    "Qdrant's values": (
        {
            "must": [
                {"key": "color", "match": {"value": "red"}},
                {"key": "color", "match": {"any": ["red", "blue"]}},
                {"key": "color", "match": {"except": ["red"]}},
                {"key": "t", "match": {"text": "rock band"}},
            ]
        },
        Filter(
            must=(
                Match("color", "red"),
                Match("color", any=["red", "blue"]),
                Except("color", any=["red"]),
                MatchText("t", "rock band"),
            )
        ),
    ),
    "Qdrant's bounds": (
        {
            "should": [
                {"key": "year", "range": {"gt": 1980, "lte": 1990.5}},
                {"key": "at", "range": {"gte": "2020-01-01T00:00:00Z", "lt": "2021-01-01"}},
            ]
        },
        Filter(
            should=(
                Range("year", gt=1980, lte=1990.5),
                DatetimeRange("at", gte="2020-01-01T00:00:00Z", lt="2021-01-01"),
            )
        ),
    ),
    "the rest of Qdrant's": (
        {
            "must": {"is_null": {"key": "a"}},
            "should": [{"is_empty": {"key": "b"}}, {"has_id": [1, "b"]}],
            "must_not": {"nested": {"key": "c", "filter": {"must": {"key": "d", "range": {}}}}},
            "min_should": {"conditions": [{"key": "e", "match": {"value": True}}], "min_count": 1},
        },
        Filter(
            must=(IsNull("a"),),
            should=(IsEmpty("b"), HasId((1, "b"))),
            must_not=(Nested("c", Filter(must=(Range("d"),))),),
            min_should=MinShould((Match("e", True),), 1),
        ),
    ),
}


@pytest.mark.parametrize("case", JSON)
def test_json_says_the_same(case: str) -> None:
    value, filter = JSON[case]
    assert Filter.from_json(value) == filter
    assert parse_filter(json.dumps(value)) == filter


REFUSED: list[tuple[Any, str]] = [
    ([], "filter"),
    ({"must": "x"}, "filter.must"),
    ({"must": [1]}, "filter.must[0]"),
    ({"must": [], "shall": []}, "filter"),
    ({"color": "red"}, "filter"),
    ({"must": [{"is_null": 5}]}, "filter.must[0].is_null"),
    ({"must": [{"is_null": "a", "is_empty": "b"}]}, "filter.must[0]"),
    ({"must": [{"field": "a"}]}, "filter.must[0]"),
    ({"must": [{"field": "a", "match": 1, "range": {}}]}, "filter.must[0]"),
    ({"must": [{"field": "a", "match": None}]}, "filter.must[0].match"),
    ({"must": [{"field": "a", "match": [1, {}]}]}, "filter.must[0].match[1]"),
    ({"field": "a", "range": {"above": 1}}, "filter.range"),
    ({"field": "a", "range": {"gte": "1"}}, "filter.range.gte"),
    ({"field": "a", "range": {"gte": True}}, "filter.range.gte"),
    ({"field": "a", "datetime": {"lt": 1}}, "filter.datetime.lt"),
    ({"has_id": [1.5]}, "filter.has_id"),
    ({"min_should": {"conditions": []}}, "filter.min_should.count"),
    ({"min_should": {"count": True, "conditions": []}}, "filter.min_should.count"),
    ({"should": [{"nested": {"field": "a"}}]}, "filter.should[0].nested.filter"),
    ({"should": [{"nested": {"filter": {}}}]}, "filter.should[0].nested.field"),
    ({"key": "a", "field": "a", "match": 1}, "filter"),
    ({"key": 5, "match": 1}, "filter.key"),
    ({"must": [{"key": "a", "match": {}}]}, "filter.must[0].match"),
    ({"key": "a", "match": {"value": 1, "any": [1]}}, "filter.match"),
    ({"key": "a", "match": {"phrase": "b"}}, "filter.match"),
    ({"key": "a", "match": {"any": "b"}}, "filter.match.any"),
    ({"key": "a", "match": {"except": [1, None]}}, "filter.match.except[1]"),
    ({"key": "a", "match": {"value": [1]}}, "filter.match.value"),
    ({"key": "a", "match": {"text": 1}}, "filter.match.text"),
    ({"key": "a", "range": {"gte": 1, "lt": "2020-01-01"}}, "filter.range.gte"),
    ({"key": "a", "range": {"gte": "yesterday"}}, "filter.range.gte"),
    ({"must": {"is_null": {"name": "a"}}}, "filter.must[0].is_null"),
    ({"is_empty": {"key": 1}}, "filter.is_empty.key"),
    ({"nested": {"key": "a", "field": "a", "filter": {}}}, "filter.nested"),
    ({"min_should": {"conditions": [], "min_count": 0}}, "filter.min_should.min_count"),
    ({"min_should": {"conditions": [], "min_count": 1, "count": 1}}, "filter.min_should"),
]


def test_what_is_accepted_is_told() -> None:
    with pytest.raises(InvalidArgument, match="any, except, text, value"):
        Filter.from_json({"key": "a", "match": {"phrase": "b"}})
    with pytest.raises(InvalidArgument, match=r"`field` \(or `key`\)"):
        Filter.from_json({"geo_radius": {}})


@pytest.mark.parametrize(
    ("filter", "path"),
    [
        ({"key": "a", "match": {"value": 1}}, "filter"),
        (Filter(must={"is_null": "a"}), "filter.must"),  # type: ignore[arg-type]
        (Filter(should=[{"is_null": "a"}]), r"filter.should\[0\]"),  # type: ignore[list-item]
        (Filter(min_should={"count": 1}), "filter.min_should"),  # type: ignore[arg-type]
        (Nested("a", {"is_null": "b"}), r"filter.must\[0\].nested.filter"),  # type: ignore[arg-type]
    ],
)
def test_plain_dicts_are_sent_to_from_json(filter: Any, path: str) -> None:
    with pytest.raises(TypeError, match=rf"^{path} is a plain dict: use Filter.from_json"):
        write_filter(filter)


@pytest.mark.parametrize(("value", "field"), REFUSED)
def test_what_is_no_filter_is_named(value: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Filter.from_json(value)
    assert caught.value.field == field


def test_a_bottomless_filter_is_refused() -> None:
    value: dict[str, Any] = {"is_null": "a"}
    for _ in range(100):
        value = {"must": [value]}
    with pytest.raises(InvalidArgument, match="deep"):
        Filter.from_json(value)
    filter = Filter(must=[IsNull("a")])
    for _ in range(100):
        filter = Filter(must=[filter])
    with pytest.raises(InvalidArgument, match="deep"):
        write_filter(filter)


@pytest.mark.parametrize(
    ("filter", "field"),
    [
        (Match("a", 2**63), "filter.must[0].match.values[0]"),
        (Except("a", float("nan")), "filter.must[0].match_except.values[0]"),
        (Match("a\ud800", 1), "filter.must[0].match.field"),
        (Range("a", lt=float("inf")), "filter.must[0].range.lt"),
        (Range("a", lt="1"), "filter.must[0].range.lt"),  # type: ignore[arg-type]
        (HasId([-1]), "filter.must[0].has_id.ids[0]"),
        (
            DatetimeRange("a", gte=datetime(2020, 1, 1)),
            "filter.must[0].datetime_range.gte",
        ),
        (Nested("a", IsNull("\ud800")), "filter.must[0].nested.filter.must[0].is_null"),
    ],
)
def test_what_cannot_be_sent_is_named(filter: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        write_filter(filter)
    assert caught.value.field == field


def test_datetimes_keep_their_zone() -> None:
    message = write_filter(DatetimeRange("a", gte=datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)))
    assert message.must[0].datetime_range.gte == "2020-01-02T03:04:05+00:00"


def test_a_match_has_one_value_or_several() -> None:
    for cls in (Match, Except):
        with pytest.raises(InvalidArgument, match=cls.__name__):
            cls("a")
        with pytest.raises(InvalidArgument):
            cls("a", 1, any=[2])
        with pytest.raises(TypeError, match="sequence"):
            cls("a", any="red")


def test_conditions_come_in_sequences() -> None:
    with pytest.raises(TypeError, match=r"filter\.must is a sequence"):
        write_filter(Filter(must=IsNull("a")))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not str"):
        write_filter(Filter(must=["a"]))  # type: ignore[list-item]


@pytest.mark.parametrize("text", ["{", "[]", "1", '{"must": 1}', "[" * 100_000])
def test_the_command_line_refuses_other_filters(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_filter(text)


def test_the_command_line_takes_ids_or_a_filter() -> None:
    assert parse_target(["7", '"7"'], IdType.AUTO, None) == ([7, "7"], None)
    assert parse_target(None, IdType.AUTO, '{"is_null": "a"}') == (
        None,
        Filter(must=(IsNull("a"),)),
    )
    for ids, filter in ((None, None), ([], None), (["1"], "{}")):
        with pytest.raises(typer.BadParameter, match="either"):
            parse_target(ids, IdType.AUTO, filter)


async def test_calls_send_filters_and_selections(client: Any, gateway: Any) -> None:
    only = Match("a", 1)
    sent = write_filter(only)
    assert await client.count("films", filter=only) == 3
    assert gateway.requests["Count"].filter == sent
    await client.scroll("films", filter=only, with_text=False, payload_include=["a"])
    scroll = gateway.requests["Scroll"]
    assert (scroll.filter, list(scroll.payload_include)) == (sent, ["a"])
    assert (scroll.with_text, scroll.with_payload, scroll.with_vector) == (False, True, False)
    assert (await client.get("films", [1], payload_exclude=["b"])).sequence == 5
    assert list(gateway.requests["Get"].payload_exclude) == ["b"]
    assert (await client.delete("films", [1])).deleted == 1
    assert (await client.delete("films", filter=only)).deleted == 2**31
    assert gateway.requests["DeleteByFilter"].filter == sent


async def test_calls_send_changes_of_payloads(client: Any, gateway: Any) -> None:
    assert (await client.set_payload("films", {"a": [1]}, ids=[1, "b"])).affected == 7
    request = gateway.requests["SetPayload"]
    assert [id.number or id.name for id in request.ids.ids] == [1, "b"]
    assert request.payload["a"].list_value.values[0].int_value == 1
    assert request.mode == 1
    await client.set_payload("films", {}, filter=IsNull("a"), mode="replace")
    request = gateway.requests["SetPayload"]
    assert (request.WhichOneof("target"), request.mode) == ("filter", 2)
    assert (await client.remove_payload("films", ["a", "b"], ids=[1])).sequence == 4
    request = gateway.requests["SetPayload"]
    assert (list(request.keys), request.mode) == (["a", "b"], 3)


@pytest.mark.parametrize("target", [{}, {"ids": [1], "filter": IsNull("a")}])
async def test_ids_or_a_filter_never_both(client: Any, gateway: Any, target: Any) -> None:
    for call in (
        client.delete("films", **target),
        client.set_payload("films", {"a": 1}, **target),
        client.remove_payload("films", ["a"], **target),
    ):
        with pytest.raises(InvalidArgument, match="either"):
            await call
    assert gateway.requests == {}


async def test_strings_are_no_lists_of_strings(client: Any) -> None:
    with pytest.raises(TypeError, match="must_contain"):
        await client.search("films", "a", must_contain="AB-12")
    with pytest.raises(TypeError, match="keys"):
        await client.remove_payload("films", "a", ids=[1])
