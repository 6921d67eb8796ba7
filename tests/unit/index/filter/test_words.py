from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.index.filter.words import (
    contains_phrase,
    fold,
    is_one_word,
    phrase_words,
    words,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" -- !", []),
        ("The quick, QUICK fox", ["the", "quick", "quick", "fox"]),
        ("snake_case AB-12", ["snake_case", "ab", "12"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("ﬁne ＡＢＣ １２", ["fine", "abc", "12"]),
        ("e\u0301té ÉTÉ", ["été", "été"]),
        ("Приве́т ΣΊΣΥΦΟΣ", ["приве", "т", "σίσυφοσ"]),
        ("東京 tower", ["東京", "tower"]),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found
    assert phrase_words(text) == set(found)


CONTAINED = [
    ("use ab-12.", "AB-12", True),
    ("use AB-123.", "AB-12", False),
    ("use CAB-12.", "AB-12", False),
    ("use AB-12-7.", "AB-12", True),
    ("AB-12", "AB-12", True),
    ("a b", "a\n\t b", True),
    ("a\u00a0\u2003b", " a b ", True),
    ("a, b", "a b", False),
    ("version 2.0", "2.0", True),
    ("version 12.0", "2.0", False),
    ("C++ and C", "c++", True),
    ("C++11", "c++", True),
    ("in c. + +", "c++", False),
    ("x(7)y", "(7)", True),
    ("abc AB-123 ab-12", "ab-12", True),
    ("die Straße", "STRASSE", True),
    ("no. 5_", "5", False),
    ("a.c", "a.c", True),
    ("abc", "a.c", False),
    ("", "a", False),
]


@pytest.mark.parametrize(("text", "phrase", "contained"), CONTAINED)
def test_a_text_contains_a_phrase(text: str, phrase: str, contained: bool) -> None:
    assert contains_phrase(text, phrase) is contained


@pytest.mark.parametrize(
    ("phrase", "one"),
    [("fox", True), (" Fox\n", True), ("red fox", False), ("AB-12", False), ("c+", False)],
)
def test_one_word(phrase: str, one: bool) -> None:
    assert is_one_word(phrase) is one


@given(st.text(max_size=30), st.text(max_size=6))
def test_a_text_has_the_words_of_a_phrase_that_it_contains(text: str, phrase: str) -> None:
    if contains_phrase(text, phrase):
        assert phrase_words(phrase) <= set(words(text))
    elif is_one_word(phrase):
        assert not phrase_words(phrase) <= set(words(text))


@given(st.text(max_size=30))
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert [again for word in words(text) for again in words(word)] == words(text)
