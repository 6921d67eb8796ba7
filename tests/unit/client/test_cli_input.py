"""What the command line reads: ids, and lines of documents and of queries."""

from __future__ import annotations

import io
import json

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from sparsegate import InvalidArgument, SparseVector
from sparsegate.cli.ids import format_id, parse_id
from sparsegate.cli.jsonl import DocumentLines, QueryLines, parse_document, parse_query
from sparsegate.cli.options import IdType


@given(st.integers(0, 2**64 - 1) | st.text(min_size=1) | st.integers().map(str))
def test_an_id_is_read_as_it_is_shown(id: int | str) -> None:
    back = parse_id(format_id(id))
    assert back == id
    assert type(back) is type(id)


@pytest.mark.parametrize(
    ("text", "kind", "id"),
    [
        ("42", IdType.AUTO, 42),
        ('"42"', IdType.AUTO, "42"),
        ("42", IdType.STRING, "42"),
        ('"42"', IdType.STRING, '"42"'),
        ("007", IdType.AUTO, "007"),
        ("-1", IdType.AUTO, "-1"),
        ("tt001", IdType.AUTO, "tt001"),
        ('"', IdType.AUTO, '"'),
        ("٤٢", IdType.AUTO, "٤٢"),
        ("42", IdType.INTEGER, 42),
    ],
)
def test_ids_of_the_command_line(text: str, kind: IdType, id: int | str) -> None:
    assert parse_id(text, kind) == id


def test_an_integer_that_is_none() -> None:
    with pytest.raises(typer.BadParameter):
        parse_id("x", IdType.INTEGER)


def test_a_line_is_a_document() -> None:
    record = {"_id": "a", "text": "t", "title": "T", "n": 2**63 - 1, "list": [None, 1.5]}
    document = parse_document(json.dumps(record).encode())
    assert (document.id, document.text) == ("a", "t")
    assert document.payload == {"title": "T", "n": 2**63 - 1, "list": [None, 1.5]}


def test_a_line_with_a_payload_and_a_vector() -> None:
    vector = {"indices": [1, 2], "values": [0.5, 1], "fingerprint": "f"}
    record = {"id": 1, "title": "T", "payload": {"a": 1}, "vector": vector}
    document = parse_document(json.dumps(record).encode(), join_title=True)
    assert document.text == "T"
    assert document.payload == {"a": 1}
    assert document.vector == SparseVector([1, 2], [0.5, 1], "f")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "not a JSON object"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"text": "x"}', "exactly one of"),
        ('{"id": 1, "_id": 2}', "exactly one of"),
        ('{"id": 1.5}', "id: an id is an integer or a string"),
        ('{"id": true}', "id: an id is an integer or a string"),
        ('{"id": 1, "text": 5}', "text: not a string"),
        ('{"id": 1, "payload": []}', "payload: not an object"),
        ('{"id": 1, "payload": {}, "title": "x"}', "title: stands beside"),
        ('{"id": 1, "vector": [1, 2]}', "vector: not an object"),
        ('{"id": 1, "vector": {"indices": 1, "values": []}}', "vector: `indices`"),
        ('{"id": 1, "vector": {"indices": [], "values": [], "x": 1}}', "vector: not an object"),
    ],
)
def test_other_lines_are_refused(line: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_document(line.encode())
    assert str(caught.value).startswith(message)


def test_lines_are_counted_through_blank_and_bad_ones() -> None:
    source = io.BytesIO(b'\n{"id": 1, "text": "a"}\n{"id":\xff}\n  \n{"id": 2, "text": "b"}')
    documents = DocumentLines(source, join_title=False)
    assert [document.id for document in documents] == [1, 2]
    assert list(documents.lines) == [2, 5]
    assert list(documents.errors) == [3]
    assert documents.bytes_read == len(source.getvalue())


def test_queries_are_read_line_by_line() -> None:
    lines = [
        b"a band on tour\n",
        b"\n",
        b' {"_id": "q1", "text": "a war"}\n',
        b'{"vector": {"indices": [1], "values": [0.5]}, "text": "passed over"}',
        b"{broken\n",
        b'{"question": "x"}\n',
        b"\xff\n",
        "  ein Käse \r\n".encode(),
    ]
    queries = QueryLines(lines)
    assert list(queries) == ["a band on tour", "a war", SparseVector([1], [0.5]), "ein Käse"]
    assert list(queries.lines) == [1, 3, 4, 8]
    assert {line: error.field for line, error in queries.errors.items()} == {5: "", 6: "", 7: ""}
    with pytest.raises(InvalidArgument) as caught:
        parse_query(b'{"text": 5}')
    assert caught.value.field == "text"
