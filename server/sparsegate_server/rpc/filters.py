"""Filters from their messages. Errors name the clause: `filter.must[0].datetime_range.gte`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from sparsegate.v1 import filter_pb2 as pb
from sparsegate_server.backends.base import with_required
from sparsegate_server.errors import InvalidFilter
from sparsegate_server.filters import (
    Condition,
    Contains,
    Except,
    Filter,
    HasId,
    IsEmpty,
    IsNull,
    Match,
    MatchText,
    MatchValue,
    MinShould,
    Nested,
    Range,
    TimeRange,
    parse_time,
)
from sparsegate_server.rpc.ids import id_from

MAX_DEPTH = 8
"""Filters inside one another, the outermost included."""

MAX_CONDITIONS = 256
"""Conditions of one filter, those of the filters inside it included."""

_BOUNDS: tuple[Literal["gt", "gte", "lt", "lte"], ...] = ("gt", "gte", "lt", "lte")

Number: TypeAlias = int | float


def filter_from(message: pb.Filter, field: str = "filter") -> Filter:
    """The filter of a message that keeps the contract's rules.

    Args:
        field: path of the message in its request.

    Raises:
        InvalidFilter: too deep, too many conditions, a range without bounds, a bad date, or blank
            words; its field is the path of the clause.
    """
    return _Reader().filter(message, field, 1)


def search_filter(message: pb.Filter | None, must_contain: Iterable[str]) -> Filter | None:
    """The filter of a search: its own and the required words.

    Raises:
        InvalidFilter: as `filter_from`, or blank words.
    """
    own = None if message is None else filter_from(message)
    required = [_contains(text, f"must_contain[{at}]") for at, text in enumerate(must_contain)]
    return with_required(own, required)


class _Reader:
    """Reads one filter and counts its conditions."""

    def __init__(self) -> None:
        self._conditions = 0

    def filter(self, message: pb.Filter, path: str, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise InvalidFilter(f"is nested more than {MAX_DEPTH} filters deep", field=path)
        at_least = None
        if message.HasField("min_should"):
            at_least = self._min_should(message.min_should, f"{path}.min_should", depth)
        return Filter(
            must=self._all(message.must, f"{path}.must", depth),
            should=self._all(message.should, f"{path}.should", depth),
            must_not=self._all(message.must_not, f"{path}.must_not", depth),
            min_should=at_least,
        )

    def _min_should(self, message: pb.MinShould, path: str, depth: int) -> MinShould:
        conditions = self._all(message.conditions, f"{path}.conditions", depth)
        return MinShould(conditions, message.count)

    def _all(
        self, messages: Iterable[pb.Condition], path: str, depth: int
    ) -> tuple[Condition, ...]:
        return tuple(
            self._condition(message, f"{path}[{at}]", depth) for at, message in enumerate(messages)
        )

    def _condition(self, message: pb.Condition, path: str, depth: int) -> Condition:  # noqa: PLR0911
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise InvalidFilter(f"has more than {MAX_CONDITIONS} conditions", field=path)
        kind = message.WhichOneof("condition")
        inner = f"{path}.{kind}"
        match kind:
            case "filter":
                return self.filter(message.filter, inner, depth + 1)
            case "match":
                return Match(message.match.field, _values(message.match))
            case "match_except":
                return Except(message.match_except.field, _values(message.match_except))
            case "match_text":
                return _match_text(message.match_text, inner)
            case "range":
                return _range(message.range, inner)
            case "datetime_range":
                return _time_range(message.datetime_range, inner)
            case "is_null":
                return IsNull(message.is_null)
            case "is_empty":
                return IsEmpty(message.is_empty)
            case "has_id":
                return HasId(tuple(id_from(id) for id in message.has_id.ids))
            case "contains":
                return _contains(message.contains, inner)
            case "nested":
                filter = self.filter(message.nested.filter, f"{inner}.filter", depth + 1)
                return Nested(message.nested.field, filter)
        raise InvalidFilter("has no condition that is known here", field=path)


def _values(message: pb.Match) -> tuple[MatchValue, ...]:
    return tuple(getattr(value, value.WhichOneof("kind") or "") for value in message.values)


def _match_text(message: pb.MatchText, path: str) -> MatchText:
    if not message.text.strip():
        raise InvalidFilter("has no word", field=f"{path}.text")
    return MatchText(message.field, message.text)


def _contains(text: str, path: str) -> Contains:
    if not text.strip():
        raise InvalidFilter("is blank: give the words that the text must have", field=path)
    return Contains(text)


def _range(message: pb.NumberRange, path: str) -> Range:
    bounds: dict[str, Number] = {}
    for name in _BOUNDS:
        if message.HasField(name):
            bound: pb.NumberBound = getattr(message, name)
            bounds[name] = getattr(bound, bound.WhichOneof("bound") or "")
    _check_bounds(bounds, path)
    return Range(message.field, **bounds)


def _time_range(message: pb.DatetimeRange, path: str) -> TimeRange:
    bounds: dict[str, int] = {}
    for name in _BOUNDS:
        if message.HasField(name):
            bounds[name] = _time(getattr(message, name), f"{path}.{name}")
    _check_bounds(bounds, path)
    return TimeRange(message.field, **bounds)


def _time(text: str, path: str) -> int:
    moment = parse_time(text)
    if moment is None:
        raise InvalidFilter(
            f"{text!r} is no date in RFC 3339, as 2024-05-01T12:00:00Z is", field=path
        )
    return moment


def _check_bounds(bounds: dict[str, int] | dict[str, Number], path: str) -> None:
    if not bounds:
        raise InvalidFilter("has no bound: give one of gt, gte, lt and lte", field=path)
