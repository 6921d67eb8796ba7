"""Filters from JSON's own types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    MinShould,
    Nested,
    Range,
)

_GROUPS = ("must", "should", "must_not")
_BOUNDS = {"gt", "gte", "lt", "lte"}
_OF_FIELD = {"match", "except", "text", "range", "datetime"}
MAX_DEPTH = 32
"""Filters inside one another that are read; the gateway allows fewer."""


def read_filter(value: object, path: str = "filter", depth: int = 0) -> Filter:
    """A filter, or a single condition.

    Raises:
        InvalidArgument: it is none; `field` is the path of the clause.
    """
    record = _object(value, path)
    if not record or record.keys() & {*_GROUPS, "min_should"}:
        return _filter(record, path, depth)
    return Filter(must=(_condition(record, path, depth),))


def _filter(record: Mapping[str, Any], path: str, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise InvalidArgument("nested too deep", field=path)
    _only(record, {*_GROUPS, "min_should"}, path)
    groups = {
        name: _conditions(record[name], f"{path}.{name}", depth)
        for name in _GROUPS
        if name in record
    }
    at_least = None
    if "min_should" in record:
        at_least = _min_should(record["min_should"], f"{path}.min_should", depth)
    return Filter(**groups, min_should=at_least)


def _min_should(value: object, path: str, depth: int) -> MinShould:
    record = _object(value, path)
    _only(record, {"conditions", "count"}, path)
    count = record.get("count")
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count < 2**31:
        raise InvalidArgument("not a number of conditions", field=f"{path}.count")
    conditions = _conditions(record.get("conditions"), f"{path}.conditions", depth)
    return MinShould(conditions, count)


def _conditions(value: object, path: str, depth: int) -> tuple[Condition, ...]:
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        raise InvalidArgument("not a list of conditions", field=path)
    return tuple(
        _condition(_object(item, f"{path}[{at}]"), f"{path}[{at}]", depth)
        for at, item in enumerate(value)
    )


def _condition(record: Mapping[str, Any], path: str, depth: int) -> Condition:  # noqa: PLR0911
    if not record or record.keys() & {*_GROUPS, "min_should"}:
        return _filter(record, path, depth + 1)
    if "field" in record:
        return _of_field(record, path)
    if len(record) != 1:
        raise InvalidArgument(_unknown(record), field=path)
    (kind, value), *_ = record.items()
    inner = f"{path}.{kind}"
    match kind:
        case "is_null":
            return IsNull(_text(value, inner))
        case "is_empty":
            return IsEmpty(_text(value, inner))
        case "contains":
            return Contains(_text(value, inner))
        case "has_id":
            return HasId(_ids(value, inner))
        case "nested":
            return _nested(value, inner, depth)
    raise InvalidArgument(_unknown(record), field=path)


def _of_field(record: Mapping[str, Any], path: str) -> Condition:  # noqa: PLR0911
    name = _text(record["field"], f"{path}.field")
    kinds = record.keys() - {"field"}
    if len(kinds) != 1 or not kinds <= _OF_FIELD:
        raise InvalidArgument(
            f"a condition on a field has one of {', '.join(sorted(_OF_FIELD))}", field=path
        )
    (kind,) = kinds
    value, inner = record[kind], f"{path}.{kind}"
    match kind:
        case "match" if isinstance(value, list):
            return Match(name, any=_values(value, inner))
        case "match":
            return Match(name, _value(value, inner))
        case "except" if isinstance(value, list):
            return Except(name, any=_values(value, inner))
        case "except":
            return Except(name, _value(value, inner))
        case "text":
            return MatchText(name, _text(value, inner))
        case "range":
            return Range(name, **_bounds(value, inner, int | float, "a number"))
    return DatetimeRange(name, **_bounds(value, inner, str, "a date as a string"))


def _nested(value: object, path: str, depth: int) -> Nested:
    record = _object(value, path)
    _only(record, {"field", "filter"}, path)
    filter = read_filter(record.get("filter"), f"{path}.filter", depth + 1)
    return Nested(_text(record.get("field"), f"{path}.field"), filter)


def _bounds(value: object, path: str, kind: Any, called: str) -> dict[str, Any]:
    record = _object(value, path)
    _only(record, _BOUNDS, path)
    for name, bound in record.items():
        if isinstance(bound, bool) or not isinstance(bound, kind):
            raise InvalidArgument(f"not {called}", field=f"{path}.{name}")
    return dict(record)


def _values(values: list[Any], path: str) -> list[Any]:
    return [_value(value, f"{path}[{at}]") for at, value in enumerate(values)]


def _value(value: Any, path: str) -> Any:
    if not isinstance(value, bool | int | float | str):
        raise InvalidArgument("not a boolean, a number or a string", field=path)
    return value


def _ids(value: object, path: str) -> tuple[int | str, ...]:
    ids = value if isinstance(value, list) else [value]
    for id in ids:
        if isinstance(id, bool) or not isinstance(id, int | str):
            raise InvalidArgument("an id is an integer or a string", field=path)
    return tuple(ids)


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidArgument("not a string", field=path)
    return value


def _object(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidArgument("not an object", field=path)
    return value


def _only(record: Mapping[str, Any], known: set[str], path: str) -> None:
    if stray := sorted(record.keys() - known):
        raise InvalidArgument(
            f"{stray[0]!r} is unknown here: {', '.join(sorted(known))} are known", field=path
        )


def _unknown(record: Mapping[str, Any]) -> str:
    named = ", ".join(map(repr, sorted(record)))
    return (
        f"{named} is no condition: give `field` with one of {', '.join(sorted(_OF_FIELD))}, or one "
        "of is_null, is_empty, has_id, contains, nested, must, should, must_not, min_should"
    )
