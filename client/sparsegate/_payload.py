"""Payload values to and from the contract's `Value`, which keeps every 64-bit integer exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from typing import Any

from sparsegate.errors import InvalidArgument
from sparsegate.v1 import common_pb2 as pb

MAX_DEPTH = 30
"""Deepest nesting sent. protobuf's parsers stop at 100 messages inside one another, and a mapping
inside a mapping takes three."""

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def write_payload(
    fields: MutableMapping[str, pb.Value], payload: Mapping[str, Any], path: str = "payload"
) -> None:
    """Fills a protobuf map.

    Raises:
        InvalidArgument: a value that the wire cannot carry; `field` is the path of its key.
    """
    _write_mapping(fields, payload, path, 0)


def read_payload(fields: Mapping[str, pb.Value]) -> dict[str, Any]:
    """The values by key. Keys are sorted, because a protobuf map keeps no order."""
    return {key: _read(fields[key]) for key in sorted(fields)}


def _write_mapping(
    fields: MutableMapping[str, pb.Value], values: Mapping[str, Any], path: str, depth: int
) -> None:
    if depth > MAX_DEPTH:
        raise InvalidArgument(f"nested deeper than {MAX_DEPTH} levels", field=path)
    for key, value in values.items():
        if not isinstance(key, str):
            raise InvalidArgument(f"key {key!r} is not a string", field=path)
        check_text(key, path)
        _write(fields[key], value, f"{path}.{key}", depth)


def _write(target: pb.Value, value: object, path: str, depth: int) -> None:
    match value:
        case None:
            target.null_value = pb.NULL_VALUE_UNSPECIFIED
        case bool():  # before int, of which it is a subclass
            target.bool_value = value
        case int():
            target.int_value = _int64(value, path)
        case float():
            target.double_value = _finite(value, path)
        case str():
            target.string_value = check_text(value, path)
        case Mapping():
            target.map_value.SetInParent()  # an empty mapping is a value, too
            _write_mapping(target.map_value.fields, value, path, depth + 1)
        case list() | tuple():
            _write_list(target.list_value, value, path, depth + 1)
        case _:
            raise InvalidArgument(
                f"a payload cannot hold a {type(value).__name__}: use None, bool, int, float, str, "
                "or lists and mappings of them",
                field=path,
            )


def _write_list(
    target: pb.ListValue, values: list[Any] | tuple[Any, ...], path: str, depth: int
) -> None:
    if depth > MAX_DEPTH:
        raise InvalidArgument(f"nested deeper than {MAX_DEPTH} levels", field=path)
    target.SetInParent()
    for at, value in enumerate(values):
        _write(target.values.add(), value, f"{path}[{at}]", depth)


def write_number(value: int | float, path: str) -> dict[str, Any]:
    """The one field of a message that holds either kind of number.

    Raises:
        InvalidArgument: neither a signed 64-bit integer nor a finite number.
    """
    if isinstance(value, int):
        return {"int_value": _int64(value, path)}
    return {"double_value": _finite(value, path)}


def _int64(value: int, path: str) -> int:
    if not INT64_MIN <= value <= INT64_MAX:
        raise InvalidArgument(
            f"{value} does not fit into a signed 64-bit integer: send it as a string", field=path
        )
    return int(value)


def _finite(value: float, path: str) -> float:
    if not math.isfinite(value):
        raise InvalidArgument(f"{value} is not a finite number, and JSON has none", field=path)
    return float(value)


def check_text(text: str, path: str) -> str:
    """The text itself.

    Raises:
        InvalidArgument: it holds a lone surrogate, so that UTF-8 cannot carry it.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(
                f"character {error.start} is a lone surrogate, which is not text", field=path
            ) from None
    return text


def _read(value: pb.Value) -> Any:
    match value.WhichOneof("kind"):
        case "map_value":
            return read_payload(value.map_value.fields)
        case "list_value":
            return [_read(item) for item in value.list_value.values]
        case "null_value" | None:
            return None
        case kind:
            return getattr(value, kind)
