"""Ids, JSON Lines, tables and the entry point of the command line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from sparsegate import (
    Alias,
    Bar,
    Calibration,
    Collection,
    EffortPoint,
    EncodedQuery,
    Explanation,
    Hit,
    InvalidArgument,
    Model,
    ModelExecution,
    ModelIdentity,
    PayloadIndex,
    SearchResult,
    Snapshot,
    SourceState,
    SourceToken,
    SparseVector,
    TermContribution,
    TermGap,
    Timings,
)
from sparsegate.cli.explanation import (
    closing_table,
    explanation_table,
    missing_terms,
    standing,
    unknown_sources,
)
from sparsegate.cli.ids import format_id, parse_id
from sparsegate.cli.jsonl import DocumentLines, QueryLines, parse_document, parse_query
from sparsegate.cli.models import model_table, models_table
from sparsegate.cli.options import IdType
from sparsegate.cli.output import plain
from sparsegate.cli.render import (
    aliases_table,
    calibration_table,
    collection_table,
    collections_table,
    expansion_table,
    indexes_table,
    search_table,
    snapshots_table,
    targets_met,
)
from sparsegate.cli.search import _summary


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


def shown(table: Any) -> str:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def found(*hits: Hit) -> SearchResult:
    return SearchResult(hits, None, Timings(), False, False, "f", 1, 0)


def test_hits_are_shown_as_they_are() -> None:
    hostile = Hit("7", 1.25, {"name": "[bold]x[/bold]\x1b[31m"}, "line\none " + "y" * 500, None)
    table = search_table(found(hostile), ["name", "absent"])
    assert isinstance(table, Table)
    assert '"7"' in shown(table)
    assert "[bold]x[/bold] [31m" in shown(table)
    assert "\x1b" not in shown(table)
    snippet = shown(search_table(found(hostile)))
    assert "line one" in snippet
    assert "…" in snippet
    assert "rank" in shown(search_table(found()))


def test_terms_are_shown_by_weight() -> None:
    query = EncodedQuery(SparseVector((1, 2, 3), (0.5, 2.0, 1.0)), ("low", "high", "middle"))
    text = shown(expansion_table(query))
    assert text.index("high") < text.index("middle") < text.index("low")
    assert "low" not in shown(expansion_table(query, 2))
    assert "and 1 more" in shown(expansion_table(query, 2))
    shown(expansion_table(EncodedQuery(SparseVector((), ()), ())))


def test_an_explanation_shows_factors_product_and_sum() -> None:
    terms = (
        TermContribution(1, "music", 2.0, 1.5, 3.0),
        TermContribution(2, "song", 1.0, 0.25, 0.25),
    )
    missing = (TermContribution(3, "movie", 2.5, 0.0, 0.0),)
    explanation = Explanation(7, 3.25, True, terms, missing, "f", False, False, 1, Timings())
    text = shown(explanation_table(explanation))
    text = text[text.index("music") :]
    assert text.index("2.0000") < text.index("×") < text.index("1.5000") < text.index("3.0000")
    assert "3.2500" in text
    assert "song" not in shown(explanation_table(explanation, 1))
    assert "movie 2.50" in shown(missing_terms(explanation))
    stranger = Explanation(7, 0.0, False, (), (), "f", False, False, 1, Timings())
    assert "no shared term" in shown(explanation_table(stranger))
    assert "every term" in shown(missing_terms(stranger))


BAND = SourceToken(3, "band", 17, 21, "band")
MUSIC = SourceToken(4, "music", 14, 19, "music")


def test_an_explanation_shows_where_terms_came_from_in_80_columns() -> None:
    piece = SourceToken(5, "graph", 102, 107, "cinematographer")
    terms = (
        TermContribution(1, "propaganda", 12.0, 1.5, 18.0, MUSIC, BAND),
        TermContribution(2, "film", 1.0, 0.25, 0.25, SourceToken(0, "[CLS]", 0, 0, "[CLS]"), piece),
        TermContribution(3, "rock", 1.0, 0.125, 0.125, None, SourceToken(6, "x" * 256, 1, 999, "")),
    )
    explanation = Explanation(
        7, 18.375, True, terms, (), "f", False, False, 1, Timings(),
        query_sources="known", document_sources="known",
    )  # fmt: skip
    lines = lines_of(explanation_table(explanation))
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if "12.0000" in line)
    assert "music (14–19)" in row
    assert "band (17–21)" in row
    text = " ".join(" ".join(lines).split())
    assert "[CLS]" in text
    assert "[CLS] (" not in text
    wide = shown(explanation_table(replace(explanation, terms=terms[1:2])))
    assert "graph (102–107) of cinematographer" in wide
    assert "x" * 23 + "…" in shown(explanation_table(replace(explanation, terms=terms[2:])))
    assert shown(unknown_sources(explanation)).strip() == ""
    gap = TermGap(5, "tour", 2.0, 0.0, 0.75, 1.5, MUSIC)
    assert "music (14–19)" in shown(closing_table(replace(explanation, closing=(gap,))))


@pytest.mark.parametrize(
    ("query", "document", "told"),
    [
        (None, None, ""),
        ("no positions", "no positions", "the terms came from is not known: export the model with"),
        ("known", "no text", "of the document its terms came from is not known: its text is not"),
        ("known", "other vector", "is not known for all: its vector is not what the model makes"),
        ("known", "unavailable", "could not be encoded again just now"),
    ],
)
def test_it_is_told_why_sources_are_not_known(
    query: SourceState | None, document: SourceState | None, told: str
) -> None:
    plain = Explanation(
        7, 0.0, False, (), (), "f", False, False, 1, Timings(),
        query_sources=query, document_sources=document,
    )  # fmt: skip
    text = " ".join(shown(unknown_sources(plain)).split())
    assert told in text
    assert bool(text) == bool(told)
    assert "in the query" not in shown(explanation_table(plain))


def test_the_standing_of_a_document_is_told() -> None:
    gap = TermGap(5, "tour", 2.0, 0.0, 0.75, 1.5)
    outside = Explanation(
        7, 1.0, True, (), (), "f", False, False, 1, Timings(), rank=12, bar=Bar("3", 2.25),
        gap=1.25, closing=(gap,),
    )  # fmt: skip
    assert shown(standing(outside)).split("\n")[0] == (
        'Rank 12, not returned. 1.2500 below the last hit, "3" (2.2500).'
    )
    row = next(line for line in shown(closing_table(outside)).splitlines() if "tour" in line)
    assert row.split() == ["tour", "2.0000", "0.0000", "0.7500", "1.5000"]
    dropped = replace(outside, rank=None, gap=None, dropped_by="must_contain[0]")
    assert shown(standing(dropped)).strip() == "Dropped by must_contain[0]."
    low = replace(dropped, dropped_by="", below_threshold=True)
    assert "below the threshold" in shown(standing(low))
    inside = replace(outside, rank=1, returned=True, gap=None)
    assert shown(standing(inside)).strip() == "Rank 1, returned."


def test_ranks_go_on_after_the_hits_that_were_passed_over() -> None:
    hit = Hit(1, 0.5, {}, "text", None)
    rows = shown(search_table(found(hit, hit), offset=10)).splitlines()
    assert [row.split()[0] for row in rows if "0.5000" in row] == ["11", "12"]


def test_collections_and_what_belongs_to_them_are_shown() -> None:
    taken = datetime(2024, 5, 1, 12, 30, 15, 250_000, tzinfo=UTC)
    snapshot = Snapshot("films-1", "films", 7, 1_234_567, 2**20, taken)
    text = shown(snapshots_table([snapshot]))
    assert "1,234,567" in text
    assert "1.0 MB" in text
    assert "2024-05-01 12:30 " in text
    assert plain(snapshot)["created"] == "2024-05-01T12:30:15.250000+00:00"
    assert "[b]" in shown(aliases_table([Alias("[b]", "films")]))
    rows = shown(indexes_table([PayloadIndex("a[].b", "keyword", False)]))
    assert "a[].b" in rows
    assert "no" in rows
    films = Collection("films", "m", "f", 10, 1, 3, 7, 1, 9, 0, aliases=("now", "then"))
    assert "now, then" in shown(collections_table([films]))


def lines_of(table: Table) -> list[str]:
    """What 80 columns show."""
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.strip() for line in text.splitlines()]


def test_snapshots_fit_into_80_columns() -> None:
    taken = datetime(2024, 5, 1, 14, 30, 15, tzinfo=timezone(timedelta(hours=2)))
    short = Snapshot("films-1234-20240501T123015Z.snapshot", "films", 1234, 10**7, 10**9, taken)
    heading, _, row, *_ = lines_of(snapshots_table([short]))[1:]
    assert heading.split() == ["snapshot", "documents", "size", "created", "(UTC)"]
    assert row.split() == [short.name, "10,000,000", "1.0", "GB", "2024-05-01", "12:30"]
    shown = lines_of(snapshots_table([replace(short, name="x" * 100)]))
    assert "…" not in "".join(shown)
    assert "".join(shown).count("x") == 100


def test_a_collection_is_shown_in_plain_words() -> None:
    films = Collection(
        "films", "m", "f", 10, 1, 3, 7, 1, 9, 0, problem="disk full", aliases=("now", "then"),
        payload_indexes=(
            PayloadIndex("minutes", "number", True), PayloadIndex("year", "number", False)
        ),
    )  # fmt: skip
    facts = facts_of(collection_table(films))
    assert facts["payload indexes"] == "minutes (number), year (number, building)"
    assert facts["aliases"] == "now, then"
    assert facts["problem"] == "disk full"


def facts_of(table: Table) -> dict[str, str]:
    rows = (line.split("   ", 1) for line in lines_of(table) if "   " in line)
    return {name: value.strip() for name, value in rows}


IDENTITY = ModelIdentity(
    "splade", "graph", "a" * 64, "b" * 64, "", "c" * 64, 30522, "max", "log1p", 512, 1024, 0.25,
    tuple(range(1000)),
)  # fmt: skip
MODEL = Model(
    "m", "splade", "", "somewhere", 5, 30522, 512, 1024, "f", "fp32", "terms", "onnx", True,
    identity=IDENTITY, positions=True, triton_backend="python", device="cpu",
)  # fmt: skip


def test_a_collection_tells_its_model_in_one_line() -> None:
    films = Collection(
        "films", "m", "f", 10, 1, 3, 7, 1, 9, 0,
        identity=IDENTITY, execution=ModelExecution("int8", "triton"),
    )  # fmt: skip
    console = Console(file=io.StringIO(), width=200, color_system=None)
    console.print(collection_table(films))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert (
        "splade, max of log1p, queries by a graph of their own, 512 tokens, 1,024 terms,"
        " weights above 0.25, checkpoint aaaaaaaaaaaa " in shown
    )
    assert "int8 on triton, when it was created" in shown
    whole = plain(films)
    assert whole["identity"]["dropped_terms"] == list(range(1000))
    assert whole["execution"] == {"precision": "int8", "backend": "triton"}


def test_a_model_is_shown_with_its_identity() -> None:
    facts = facts_of(model_table(MODEL))
    assert facts["queries"] == "a graph of their own"
    assert facts["activation"] == "log1p"
    assert facts["threshold"] == "0.25"
    assert facts["dropped terms"] == "1,000"
    assert facts["positions"] == "true"
    told = " ".join(lines_of(models_table([MODEL])))
    for word in ("family", "splade", "a graph of", "onnx", "fp32", "512"):
        assert word in told


def test_what_an_older_gateway_does_not_tell_is_left_out() -> None:
    facts = facts_of(model_table(replace(MODEL, identity=None)))
    assert "queries" not in facts
    assert "fp32" in " ".join(lines_of(models_table([replace(MODEL, identity=None)])))
    films = Collection("films", "m", "f", 10, 1, 3, 7, 1, 9, 0)
    assert "None" not in " ".join(lines_of(collection_table(films)))


MEASURED = Calibration(
    points=(
        EffortPoint(0.3, 0.91, 0.89, 51_000.4, 0.12),
        EffortPoint(0.625, 0.98, 0.97, 151_000.0, 0.25),
        EffortPoint(1.0, 1.0, 1.0, 503_000.0, 0.5),
    ),
    limit=10,
    queries=500,
    confidence=0.95,
    documents=200_000,
    sequence=7,
)


def test_a_calibration_is_shown_by_effort() -> None:
    shown = lines_of(calibration_table(MEASURED))
    rows = [line.split() for line in shown if line[:1].isdigit()]
    assert rows == [
        ["0.3", "0.9100", "0.8900", "51,000", "0.120"],
        ["0.625", "0.9800", "0.9700", "151,000", "0.250"],
        ["1", "1.0000", "1.0000", "503,000", "0.500"],
    ]
    assert shown[1].split() == ["effort", "recall@10", "at", "least", "postings", "ms"]
    assert "95% confidence" in " ".join(shown)
    told = targets_met(MEASURED).plain
    assert told == "Target recall → effort: 0.9 → 0.625, 0.95 → 0.625, 0.97 → 0.625, 0.99 → exact."
    films = Collection("films", "m", "f", 10, 1, 3, 7, 1, 9, 0, calibration=MEASURED)
    assert "500 queries, 10 hits each, 200,000 documents then" in " ".join(
        lines_of(collection_table(films))
    )


def test_a_target_is_served_with_the_least_effort_that_surely_reaches_it() -> None:
    efforts = [MEASURED.effort_for(target) for target in (0.5, 0.89, 0.9, 0.97, 0.98, 1.0)]
    assert efforts == [0.3, 0.3, 0.625, 0.625, 1.0, 1.0]


def test_what_was_missed_is_summed_up() -> None:
    exact = found(Hit(1, 0.5, {}, None, None))
    assert "approximate" not in _summary(exact)
    rough = replace(exact, approximate=True, missed_score=12.34567, effort=0.625)
    assert _summary(rough).endswith(
        "; approximate, with effort 0.625: no missed document scores above 12.3457"
    )


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


@pytest.mark.parametrize(
    ("hits", "heading"),
    [
        ([Hit(1, 0.5, {"a": 1}, "words", None)], "text"),
        ([Hit(1, 0.5, {"a": 1}, None, None)], "payload"),
        ([Hit(1, 0.5, {"a": 1}, None, None), Hit(2, 0.5, {}, "words", None)], "text or payload"),
        ([Hit(1, 0.5, {}, None, None)], "text"),
        ([], "text"),
    ],
)
def test_what_is_shown_of_a_hit_is_named(hits: list[Hit], heading: str) -> None:
    assert lines_of(search_table(found(*hits)))[1].split(maxsplit=3)[3] == heading


def test_results_become_json() -> None:
    hit = Hit(1, 0.5, {"a": [1]}, None, SparseVector((1,), (0.5,)))
    assert plain(found(hit))["hits"] == [
        {
            "id": 1,
            "score": 0.5,
            "payload": {"a": [1]},
            "text": None,
            "vector": {"indices": [1], "values": [0.5], "fingerprint": ""},
        }
    ]
    error = InvalidArgument("bad", field="texts[0]", reason="BLANK_TEXT")
    assert plain((error,)) == [
        {
            "error": {
                "code": "INVALID_ARGUMENT",
                "reason": "BLANK_TEXT",
                "field": "texts[0]",
                "message": "bad",
            }
        }
    ]


def test_the_missing_extra_is_named() -> None:
    code = "import sys; sys.modules['typer'] = None; from sparsegate.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("pip install 'sparsegate[cli]'")
    assert "Traceback" not in done.stderr
