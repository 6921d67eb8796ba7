"""Terms and the tokens that they came from: characters, words, and vectors that agree."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsegate_server.encoders.base import Token, Tokenized
from sparsegate_server.encoders.tokenizer import ModelTokenizer
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.models.vocabulary import read_vocabulary
from sparsegate_server.search.sources import (
    MOST_CHARACTERS,
    TOLERANCE,
    SourceToken,
    agreeing,
    sources_of,
    word_around,
)
from sparsegate_server.types import SparseVector

from ..models.test_vocabulary import byte_pairs

WEIGHTS = st.dictionaries(st.integers(0, 12), st.floats(2.0**-6, 4, width=32))
NUDGES = st.sampled_from([0.0, 1e-6, -1e-4, 0.5, -0.9])


def vector(terms: dict[int, float]) -> SparseVector:
    return SparseVector(
        np.array(sorted(terms), np.uint32), np.array([terms[t] for t in sorted(terms)], np.float32)
    )


def told(tokenizer: ModelTokenizer, text: str) -> list[SourceToken]:
    """The source of every token of a text."""
    (tokenized,) = tokenizer.tokenize([text])
    count = len(tokenized.tokens)
    found = sources_of(
        text, tokenized, np.arange(count, dtype=np.uint32), np.arange(count, dtype=np.uint16)
    )
    return [found[at] for at in range(count)]


@pytest.fixture(scope="module")
def wordpieces(model_repository: Path) -> ModelTokenizer:
    folder = model_repository / "splade-tiny"
    return ModelTokenizer(folder, ModelSpec.load(folder))


@pytest.fixture
def bytes_of_text(tmp_path: Path, model_repository: Path) -> ModelTokenizer:
    """A byte-level tokenizer as RoBERTa's."""
    content = read_vocabulary(byte_pairs(tmp_path)).content
    (tmp_path / "tokenizer.json").write_bytes(content)
    spec = ModelSpec.load(model_repository / "splade-tiny")
    sha256 = hashlib.sha256(content).hexdigest()
    return ModelTokenizer(
        tmp_path, replace(spec, identity=replace(spec.identity, tokenizer_sha256=sha256))
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a band", [("a", 0, 1, "a"), ("band", 2, 6, "band")]),
        ("🎬🎬 band", [("🎬🎬", 0, 2, "🎬🎬"), ("band", 3, 7, "band")]),
        ("👨\u200d👩 band", [("👨\u200d👩", 0, 3, "👨\u200d👩"), ("band", 4, 8, "band")]),
        ("MÜSIC", [("MÜSIC", 0, 5, "MÜSIC")]),
        # The accent stands for itself: the tokenizer drops it, the word keeps it.
        ("cafe\u0301 band", [("cafe", 0, 4, "cafe\u0301"), ("band", 6, 10, "band")]),
        # Dropped characters count.
        ("\x00\ufeffband \u200bx", [("band", 2, 6, "band"), ("x", 8, 9, "x")]),
        ("ba\x07nd", [("ba\x07nd", 0, 5, "ba\x07nd")]),
        ("fateful", [("fate", 0, 4, "fateful"), ("ful", 4, 7, "fateful")]),
        ("don't", [("don", 0, 3, "don"), ("'", 3, 4, "'"), ("t", 4, 5, "t")]),
        ("音楽", [("音", 0, 1, "音"), ("楽", 1, 2, "楽")]),
    ],
)  # fmt: skip
def test_a_token_is_told_by_its_characters(
    wordpieces: ModelTokenizer, text: str, expected: list[tuple[str, int, int, str]]
) -> None:
    first, *rest, last = told(wordpieces, text)
    assert first == SourceToken(0, "[CLS]", 0, 0, "[CLS]")
    assert (last.text, last.start, last.end, last.word) == ("[SEP]", 0, 0, "[SEP]")
    assert [(t.text, t.start, t.end, t.word) for t in rest] == expected
    assert [t.position for t in rest] == list(range(1, len(rest) + 1))


def test_bytes_of_a_character_stand_for_the_whole_of_it(bytes_of_text: ModelTokenizer) -> None:
    text = "a èé abcabc"
    assert [(t.text, t.start, t.end, t.word) for t in told(bytes_of_text, text)] == [
        ("<s>", 0, 0, "<s>"),
        ("a", 0, 1, "a"),
        ("Ġ", 2, 2, "Ġ"),  # a space that stands alone
        ("è", 2, 3, "èé"),
        ("èé", 2, 4, "èé"),
        ("Ġ", 5, 5, "Ġ"),
        ("abc", 5, 8, "abcabc"),
        ("abc", 8, 11, "abcabc"),
        ("</s>", 0, 0, "</s>"),
    ]


def test_what_is_told_of_a_long_token_is_short(wordpieces: ModelTokenizer) -> None:
    text = "x" * 5000
    (_, unknown, _) = told(wordpieces, text)
    assert unknown == SourceToken(1, text[:MOST_CHARACTERS], 0, 5000, text[:MOST_CHARACTERS])
    pieces = told(wordpieces, "\x01".join(["fateful" * 14] * 60))
    assert max(len(t.word) for t in pieces) <= MOST_CHARACTERS


def joins(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM" and character not in "音の"


@given(st.text(alphabet="ab1\u0301é音の '-\n🎬", max_size=20), st.data())
def test_a_word_against_the_definition(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    word = word_around(text, start, end)
    if start == end:
        assert word == ""
        return
    first = max(
        (at for at in range(start + 1) if not all(map(joins, text[at : start + 1]))), default=-1
    )
    last = min(
        (at for at in range(end, len(text) + 1) if not all(map(joins, text[end - 1 : at]))),
        default=len(text) + 1,
    )
    assert word == text[min(first + 1, start) : max(last - 1, end)]


@pytest.mark.parametrize("around", [0, 1, MOST_CHARACTERS - 1, MOST_CHARACTERS, 10_000])
def test_a_word_that_is_too_long_is_none(around: int) -> None:
    text = "y" * around + "x" + " z"
    assert word_around(text, around, around + 1) == (
        text[: around + 1] if around < MOST_CHARACTERS else ""
    )
    after = "x" + "y" * around
    assert len(word_around(after, 0, 1)) == (around + 1 if around < MOST_CHARACTERS else 0)


@given(WEIGHTS, st.dictionaries(st.integers(0, 12), NUDGES), WEIGHTS)
def test_agreeing_terms_against_the_definition(
    stored: dict[int, float], nudges: dict[int, float], others: dict[int, float]
) -> None:
    made = {t: w + nudges.get(t, 0.0) for t, w in stored.items()}
    made |= {t: w for t, w in others.items() if t % 3 == 0}
    made = {t: w for t, w in made.items() if w > 0}
    agreed, whole = agreeing(vector(stored), vector(made))
    apart = {
        t: abs(np.float32(stored.get(t, 0)) - np.float32(made.get(t, 0)))
        for t in stored.keys() | made.keys()
    }
    allowed = {t: TOLERANCE * (1 + np.float32(made.get(t, 0))) for t in apart}
    same = {t for t in apart if apart[t] <= allowed[t]}
    assert agreed.tolist() == sorted(same & stored.keys() & made.keys())
    assert whole == (same == apart.keys())


def test_only_the_terms_that_agree_have_a_source() -> None:
    stored, made = vector({1: 1.0, 2: 1.0, 3: 0.0005}), vector({1: 1.0005, 2: 1.01})
    agreed, whole = agreeing(stored, made)
    assert agreed.tolist() == [1]
    assert not whole
    assert agreeing(vector({1: 1.0, 3: 0.0005}), vector({1: 1.0}))[1]  # a trace of a term
    assert agreeing(vector({}), vector({})) == (pytest.approx([]), True)


def test_terms_of_one_token_share_its_source() -> None:
    tokenized = Tokenized((Token(9, "[CLS]", 0, 0), Token(5, "band", 0, 4)), truncated=False)
    found = sources_of(
        "band", tokenized, np.array([3, 5, 7], np.uint32), np.array([1, 1, 0], np.uint16)
    )
    band = SourceToken(1, "band", 0, 4, "band")
    assert found == {3: band, 5: band, 7: SourceToken(0, "[CLS]", 0, 0, "[CLS]")}
