"""Filters from JSON's own types, in our spelling or Qdrant's."""

from __future__ import annotations

import re
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
_OF_MATCH = {"value", "any", "except", "text"}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
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
    _only(record, {"conditions", "count", "min_count"}, path)
    name = _either(record, "count", "min_count", path)
    count = record.get(name)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count < 2**31:
        raise InvalidArgument("not a number of conditions, 1 or more", field=f"{path}.{name}")
    conditions = _conditions(record.get("conditions"), f"{path}.conditions", depth)
    return MinShould(conditions, count)


def _conditions(value: object, path: str, depth: int) -> tuple[Condition, ...]:
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        raise InvalidArgument("not a condition or a list of conditions", field=path)
    return tuple(
        _condition(_object(item, f"{path}[{at}]"), f"{path}[{at}]", depth)
        for at, item in enumerate(value)
    )


def _condition(record: Mapping[str, Any], path: str, depth: int) -> Condition:  # noqa: PLR0911
    if not record or record.keys() & {*_GROUPS, "min_should"}:
        return _filter(record, path, depth + 1)
    if record.keys() & {"field", "key"}:
        return _of_field(record, path)
    if len(record) != 1:
        raise InvalidArgument(_unknown(record), field=path)
    (kind, value), *_ = record.items()
    inner = f"{path}.{kind}"
    match kind:
        case "is_null":
            return IsNull(_name(value, inner))
        case "is_empty":
            return IsEmpty(_name(value, inner))
        case "contains":
            return Contains(_text(value, inner))
        case "has_id":
            return HasId(_ids(value, inner))
        case "nested":
            return _nested(value, inner, depth)
    raise InvalidArgument(_unknown(record), field=path)


def _of_field(record: Mapping[str, Any], path: str) -> Condition:
    called = _either(record, "field", "key", path)
    name = _text(record[called], f"{path}.{called}")
    kinds = record.keys() - {called}
    if len(kinds) != 1 or not kinds <= _OF_FIELD:
        raise InvalidArgument(
            f"a condition on a field has one of {', '.join(sorted(_OF_FIELD))}", field=path
        )
    (kind,) = kinds
    value, inner = record[kind], f"{path}.{kind}"
    match kind:
        case "match" if isinstance(value, Mapping):
            return _match(name, value, inner)
        case "match":
            return _equal(Match, name, value, inner)
        case "except":
            return _equal(Except, name, value, inner)
        case "text":
            return MatchText(name, _text(value, inner))
        case "range":
            return _range(name, value, inner)
    return DatetimeRange(name, **_bounds(value, inner, str, "a date as a string"))


def _match(name: str, record: Mapping[str, Any], path: str) -> Condition:
    """Qdrant's `match`, an object that says how."""
    if len(record) != 1 or not record.keys() <= _OF_MATCH:
        raise InvalidArgument(
            "not a value, a list of values, or an object with one of "
            f"{', '.join(sorted(_OF_MATCH))}",
            field=path,
        )
    ((kind, value),) = record.items()
    inner = f"{path}.{kind}"
    match kind:
        case "text":
            return MatchText(name, _text(value, inner))
        case "value":
            return Match(name, _value(value, inner))
    if not isinstance(value, list):
        raise InvalidArgument("not a list of values", field=inner)
    return _equal(Match if kind == "any" else Except, name, value, inner)


def _equal(
    condition: type[Match] | type[Except], name: str, value: object, path: str
) -> Match | Except:
    if isinstance(value, list):
        return condition(name, any=_values(value, path))
    return condition(name, _value(value, path))


def _range(name: str, value: object, path: str) -> Range | DatetimeRange:
    """Of numbers, or of dates where a bound is a string."""
    bounds = _object(value, path)
    if any(isinstance(bound, str) for bound in bounds.values()):
        dates = _bounds(bounds, path, str, "a date, as another bound is")
        for which, date in dates.items():
            if not _DATE.match(date):
                raise InvalidArgument(
                    "not a number, nor a date as in '2024-05-01T12:00:00Z' (RFC 3339)",
                    field=f"{path}.{which}",
                )
        return DatetimeRange(name, **dates)
    return Range(name, **_bounds(bounds, path, int | float, "a number or a date as a string"))


def _nested(value: object, path: str, depth: int) -> Nested:
    record = _object(value, path)
    _only(record, {"field", "key", "filter"}, path)
    called = _either(record, "field", "key", path)
    filter = read_filter(record.get("filter"), f"{path}.filter", depth + 1)
    return Nested(_text(record.get(called), f"{path}.{called}"), filter)


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


def _name(value: object, path: str) -> str:
    """A field's name as it is, or in an object, as Qdrant has it."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping) or len(value) != 1 or not value.keys() <= {"field", "key"}:
        raise InvalidArgument("not the name of a field, nor an object with `key`", field=path)
    ((called, name),) = value.items()
    return _text(name, f"{path}.{called}")


def _either(record: Mapping[str, Any], ours: str, theirs: str, path: str) -> str:
    """Which of two spellings is used; ours where neither is."""
    if ours in record and theirs in record:
        raise InvalidArgument(f"give either `{ours}` or `{theirs}`", field=path)
    return theirs if theirs in record else ours


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
        f"{named} is no condition: give `field` (or `key`) with one of "
        f"{', '.join(sorted(_OF_FIELD))}, or one of is_null, is_empty, "
        "has_id, contains, nested, must, should, must_not, min_should"
    )
