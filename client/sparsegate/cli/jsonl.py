"""JSON Lines to documents, and lines to queries."""

from __future__ import annotations

import json
import shlex
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from sparsegate.errors import InvalidArgument
from sparsegate.types import Document, SparseVector

OWN_FIELDS = {"id", "_id", "text", "vector", "payload"}
EXAMPLE = '{"id": 1, "text": "A film about a band"}'
"""A line as it should be."""
_STDIN = ("-", "<stdin>")
_MOST_FIELDS = 8
"""Of a line, that an error names."""


def json_lines(source: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The lines of a file, once the first of them has been looked at.

    Args:
        name: of the file, for errors.

    Raises:
        InvalidArgument: it is JSON, but one value over many lines or an array, every line of which
            would be wrong. Raised at once, before any line is taken.
    """
    rest = iter(source)
    seen: list[bytes] = []
    for line in rest:
        seen.append(line)
        if line.strip():
            break
    first = seen[-1].strip() if seen else b""
    if first.startswith(b"[") or first == b"{":
        what, filter = ("an array", ".[]") if first.startswith(b"[") else ("one over lines", ".")
        path = "FILE" if name in _STDIN else shlex.quote(name)
        raise InvalidArgument(
            f"{'standard input' if name in _STDIN else name} is JSON, {what}, and JSON Lines are "
            f"wanted: one document a line, as in {EXAMPLE}. To convert it: "
            f"jq -c '{filter}' {path} > documents.jsonl"
        )
    return chain(seen, rest)


class DocumentLines:
    """The documents of a file, one a line. Lines that are none are noted and passed over.

    Attributes:
        lines: number of the line of each document, by its position among the documents.
        errors: what is wrong with the others, by line.
        bytes_read: how far the file was read.
    """

    def __init__(self, source: Iterable[bytes], join_title: bool) -> None:
        self._source = source
        self._join_title = join_title
        self.lines = array("Q")
        self.errors: dict[int, InvalidArgument] = {}
        self.bytes_read = 0

    def __iter__(self) -> Iterator[Document]:
        for number, line in enumerate(self._source, 1):
            self.bytes_read += len(line)
            if not line.strip():
                continue
            try:
                document = parse_document(line, self._join_title)
            except InvalidArgument as error:
                self.errors[number] = error
                continue
            self.lines.append(number)
            yield document


class QueryLines:
    """The queries of a file, one a line. Lines that are none are noted and passed over.

    Attributes:
        lines: number of the line of each query, by its position among the queries.
        errors: what is wrong with the others, by line.
    """

    def __init__(self, source: Iterable[bytes]) -> None:
        self._source = source
        self.lines = array("Q")
        self.errors: dict[int, InvalidArgument] = {}

    def __iter__(self) -> Iterator[str | SparseVector]:
        for number, line in enumerate(self._source, 1):
            if not line.strip():
                continue
            try:
                query = parse_query(line)
            except InvalidArgument as error:
                self.errors[number] = error
                continue
            self.lines.append(number)
            yield query


def parse_query(line: bytes) -> str | SparseVector:
    """Reads one query: a JSON object with a `text` or a `vector` of the caller's own, which wins,
    or a text as it stands. Other fields of an object are of no account.

    Raises:
        InvalidArgument: it is no query; `field` names the field.
    """
    if not line.lstrip().startswith(b"{"):
        try:
            return line.decode().strip()
        except UnicodeDecodeError:
            raise InvalidArgument("not UTF-8") from None
    record = _parse_object(line)
    query = _vector(record.get("vector")) or _text(record, "text")
    if query is None:
        raise InvalidArgument("one of `text` and `vector` is needed")
    return query


def parse_document(line: bytes, join_title: bool = False) -> Document:
    """Reads one document.

    `id` or `_id` is its id: a JSON number is an integer, a JSON string a string. `text` is its
    text, `vector` a vector of the caller's own, and one of them is needed. The payload is
    `payload`, or else all other fields.

    Args:
        line: a JSON object.
        join_title: put the field `title`, which is payload as well, before the text.

    Raises:
        InvalidArgument: it is no document; `field` names the field.
    """
    record = _parse_object(line)
    text = _text(record, "text")
    if join_title and (title := _text(record, "title")):
        text = f"{title} {text}" if text else title
    document = Document(
        id=_id(record),
        text=text,
        vector=_vector(record.get("vector")),
        payload=_payload(record, {"title"} if join_title else set()),
    )
    if document.text is None and document.vector is None:
        raise InvalidArgument(
            f"missing, and so is `vector`: {_as_it_should_be(record)}", field="text"
        )
    return document


def _as_it_should_be(record: dict[str, Any]) -> str:
    """What a line has instead, and an example."""
    names = ", ".join(f"`{name}`" for name in list(record)[:_MOST_FIELDS])
    more = ", …" if len(record) > _MOST_FIELDS else ""
    return f"the line has {names or 'no field'}{more}; a good one is {EXAMPLE}"


def _parse_object(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise InvalidArgument(f"not a JSON object, as {EXAMPLE} is")
    return record


def _id(record: dict[str, Any]) -> int | str:
    given = [name for name in ("id", "_id") if name in record]
    if len(given) != 1:
        raise InvalidArgument(
            f"exactly one of `id` and `_id` is needed: {_as_it_should_be(record)}"
        )
    value = record[given[0]]
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidArgument("an id is an integer or a string", field=given[0])
    return value


def _text(record: dict[str, Any], field: str) -> str | None:
    value = record.get(field)
    if value is not None and not isinstance(value, str):
        raise InvalidArgument("not a string", field=field)
    return value


def _vector(value: Any) -> SparseVector | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not {"indices", "values"} <= value.keys() <= {
        "indices",
        "values",
        "fingerprint",
    }:
        raise InvalidArgument("not an object of `indices` and `values`", field="vector")
    if not isinstance(value["indices"], list) or not isinstance(value["values"], list):
        raise InvalidArgument("`indices` and `values` are lists", field="vector")
    return SparseVector(value["indices"], value["values"], _text(value, "fingerprint") or "")


def _payload(record: dict[str, Any], joined: set[str]) -> dict[str, Any]:
    others = {name: value for name, value in record.items() if name not in OWN_FIELDS}
    if "payload" not in record:
        return others
    if not isinstance(record["payload"], dict):
        raise InvalidArgument("not an object", field="payload")
    if stray := sorted(others.keys() - joined):
        raise InvalidArgument(
            "stands beside `payload`, where it would be lost: put it inside", field=stray[0]
        )
    payload: dict[str, Any] = record["payload"]
    return payload
