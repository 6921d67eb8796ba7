"""Filters to messages. All raise InvalidArgument for what the wire cannot carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from sparsegate._messages import write_ids
from sparsegate._payload import check_text, write_number
from sparsegate.errors import InvalidArgument
from sparsegate.filters import (
    Condition,
    Contains,
    DatetimeRange,
    Except,
    Filter,
    HasId,
    IsEmpty,
    IsNull,
    Match,
    MatchText,
    Nested,
    Range,
)
from sparsegate.v1 import common_pb2
from sparsegate.v1 import filter_pb2 as pb

FilterLike: TypeAlias = Filter | Condition
"""A filter, or a single condition that must hold."""

MAX_DEPTH = 32
"""Filters inside one another that are sent; protobuf's parsers stop at 100 messages."""

_BOUNDS = ("gt", "gte", "lt", "lte")


def write_filter(filter: FilterLike, path: str = "filter", depth: int = 0) -> pb.Filter:
    """`path` leads to the filter, and to what is wrong in it."""
    if depth > MAX_DEPTH:
        raise InvalidArgument("nested too deep", field=path)
    _refuse_json(filter, path)
    whole = filter if isinstance(filter, Filter) else Filter(must=(filter,))
    message = pb.Filter(
        must=_conditions(whole.must, f"{path}.must", depth),
        should=_conditions(whole.should, f"{path}.should", depth),
        must_not=_conditions(whole.must_not, f"{path}.must_not", depth),
    )
    if whole.min_should is not None:
        inner = f"{path}.min_should"
        _refuse_json(whole.min_should, inner)
        if not 0 <= whole.min_should.count < 2**32:
            raise InvalidArgument("not a number of conditions", field=f"{inner}.count")
        message.min_should.count = whole.min_should.count
        message.min_should.conditions.extend(
            _conditions(whole.min_should.conditions, f"{inner}.conditions", depth)
        )
    return message


def _conditions(conditions: Sequence[Condition], path: str, depth: int) -> list[pb.Condition]:
    _refuse_json(conditions, path)
    if not isinstance(conditions, Sequence):
        raise TypeError(f"{path} is a sequence of conditions: put a single one into a list")
    return [
        _condition(condition, f"{path}[{at}]", depth) for at, condition in enumerate(conditions)
    ]


def _condition(condition: Condition, path: str, depth: int) -> pb.Condition:  # noqa: PLR0911
    _refuse_json(condition, path)
    match condition:
        case Filter():
            return pb.Condition(filter=write_filter(condition, f"{path}.filter", depth + 1))
        case Match():
            return pb.Condition(match=_match(condition, f"{path}.match"))
        case Except():
            return pb.Condition(match_except=_match(condition, f"{path}.match_except"))
        case MatchText(name, text):
            message = pb.MatchText(
                field=check_text(name, f"{path}.match_text.field"),
                text=check_text(text, f"{path}.match_text.text"),
            )
            return pb.Condition(match_text=message)
        case Range():
            return pb.Condition(range=_range(condition, f"{path}.range"))
        case DatetimeRange():
            return pb.Condition(datetime_range=_datetime_range(condition, f"{path}.datetime_range"))
        case IsNull(name):
            return pb.Condition(is_null=check_text(name, f"{path}.is_null"))
        case IsEmpty(name):
            return pb.Condition(is_empty=check_text(name, f"{path}.is_empty"))
        case HasId(ids):
            message_ids = common_pb2.DocumentIds(ids=write_ids(ids, f"{path}.has_id.ids"))
            return pb.Condition(has_id=message_ids)
        case Contains(phrase):
            return pb.Condition(contains=check_text(phrase, f"{path}.contains"))
        case Nested(name, inner):
            nested = pb.Nested(
                field=check_text(name, f"{path}.nested.field"),
                filter=write_filter(inner, f"{path}.nested.filter", depth + 1),
            )
            return pb.Condition(nested=nested)
    raise TypeError(f"{path} is a condition, not {type(condition).__name__}")


def _refuse_json(value: object, path: str) -> None:
    if isinstance(value, Mapping):
        raise TypeError(
            f"{path} is a plain {type(value).__name__}: use Filter.from_json to read it"
        )


def _match(condition: Match | Except, path: str) -> pb.Match:
    message = pb.Match(field=check_text(condition.field, f"{path}.field"))
    for at, value in enumerate(condition.values):
        where = f"{path}.values[{at}]"
        match value:
            case bool():  # before int, of which it is a subclass
                message.values.add(bool_value=value)
            case int() | float():
                message.values.add(**write_number(value, where))
            case str():
                message.values.add(string_value=check_text(value, where))
            case _:
                raise InvalidArgument("not a boolean, a number or a string", field=where)
    return message


def _range(condition: Range, path: str) -> pb.NumberRange:
    message = pb.NumberRange(field=check_text(condition.field, f"{path}.field"))
    for name in _BOUNDS:
        bound = getattr(condition, name)
        if bound is None:
            continue
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            raise InvalidArgument("not a number", field=f"{path}.{name}")
        getattr(message, name).MergeFrom(pb.NumberBound(**write_number(bound, f"{path}.{name}")))
    return message


def _datetime_range(condition: DatetimeRange, path: str) -> pb.DatetimeRange:
    message = pb.DatetimeRange(field=check_text(condition.field, f"{path}.field"))
    for name in _BOUNDS:
        bound = getattr(condition, name)
        if bound is not None:
            setattr(message, name, _date(bound, f"{path}.{name}"))
    return message


def _date(bound: str | datetime, path: str) -> str:
    if isinstance(bound, str):
        return check_text(bound, path)
    if not isinstance(bound, datetime):
        raise InvalidArgument("not a string or a datetime", field=path)
    if bound.tzinfo is None:
        raise InvalidArgument("has no time zone: say which, as with tzinfo=UTC", field=path)
    return bound.isoformat()
