"""An explanation as the command line shows it: factors, sources, and what keeps a document out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sparsegate import (
    Bar,
    Explanation,
    SourceState,
    SourceToken,
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

from .screen import lines_of, shown

BAND = SourceToken(3, "band", 17, 21, "band")
MUSIC = SourceToken(4, "music", 14, 19, "music")


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
