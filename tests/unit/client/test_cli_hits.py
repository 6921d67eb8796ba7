"""Hits and terms as the command line shows them, and results as its JSON."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from rich.table import Table

from sparsegate import EncodedQuery, Hit, InvalidArgument, SparseVector
from sparsegate.cli.output import plain
from sparsegate.cli.render import expansion_table, search_table
from sparsegate.cli.search import _summary

from .screen import found, lines_of, shown


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


def test_ranks_go_on_after_the_hits_that_were_passed_over() -> None:
    hit = Hit(1, 0.5, {}, "text", None)
    rows = shown(search_table(found(hit, hit), offset=10)).splitlines()
    assert [row.split()[0] for row in rows if "0.5000" in row] == ["11", "12"]


def test_terms_are_shown_by_weight() -> None:
    query = EncodedQuery(SparseVector((1, 2, 3), (0.5, 2.0, 1.0)), ("low", "high", "middle"))
    text = shown(expansion_table(query))
    assert text.index("high") < text.index("middle") < text.index("low")
    assert "low" not in shown(expansion_table(query, 2))
    assert "and 1 more" in shown(expansion_table(query, 2))
    shown(expansion_table(EncodedQuery(SparseVector((), ()), ())))


def test_what_was_missed_is_summed_up() -> None:
    exact = found(Hit(1, 0.5, {}, None, None))
    assert "approximate" not in _summary(exact)
    rough = replace(exact, approximate=True, missed_score=12.34567, effort=0.625)
    assert _summary(rough).endswith(
        "; approximate, with effort 0.625: no missed document scores above 12.3457"
    )


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
