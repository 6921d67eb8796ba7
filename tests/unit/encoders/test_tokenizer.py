"""Text from outside, as the model reads it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sparsegate_server.encoders.tokenizer import ModelTokenizer
from sparsegate_server.errors import ModelSourceError, UnknownTerm
from sparsegate_server.models.spec import ModelSpec

from ...golden import VECTORS


def test_the_golden_texts_have_the_golden_lengths(tokenizer: ModelTokenizer) -> None:
    found = tokenizer.encode([each.text for each in VECTORS])
    assert [len(each.ids) for each in found] == [each.tokens_used for each in VECTORS]


@pytest.mark.parametrize("name", ["[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]"])
def test_the_name_of_a_special_token_is_ordinary_text(tokenizer: ModelTokenizer, name: str) -> None:
    (tokens,) = tokenizer.tokenize([f"say {name}"])
    pieces = [token.text for token in tokens.tokens]
    assert pieces[:3] == ["[CLS]", "say", "["]
    assert pieces[-2:] == ["]", "[SEP]"]
    assert name not in pieces[1:-1]


def test_tokens_say_which_characters_they_stand_for(tokenizer: ModelTokenizer) -> None:
    text = "Über 🎬 films"
    (tokens,) = tokenizer.tokenize([text])
    assert [text[token.start : token.end] for token in tokens.tokens] == [
        "",
        "Über",
        "🎬",
        "films",
        "",
    ]
    assert all(tokenizer.term(token.id) == token.text for token in tokens.tokens)


@pytest.mark.parametrize(("words", "used", "truncated"), [(510, 512, False), (511, 512, True)])
def test_truncation_keeps_the_last_special_token(
    tokenizer: ModelTokenizer, words: int, used: int, truncated: bool
) -> None:
    (ids,) = tokenizer.encode(["word " * words])
    assert (len(ids.ids), ids.truncated) == (used, truncated)
    assert (ids.ids[0], ids.ids[-1]) == (101, 102)


@pytest.mark.parametrize("text", ["", " \n\t", "\x00", "\u200b"])
def test_nothing_is_left_of_a_blank_text(tokenizer: ModelTokenizer, text: str) -> None:
    assert tokenizer.encode([text])[0].empty


@pytest.mark.parametrize(("text", "known"), [("🧿", False), ("x" * 101, False), ("🧿 a", True)])
def test_unknown_wordpieces(tokenizer: ModelTokenizer, text: str, known: bool) -> None:
    (ids,) = tokenizer.encode([text])
    assert (ids.known, ids.empty) == (known, False)


@pytest.mark.parametrize("term_id", [-1, 30522, 2**32 - 1])
def test_a_term_outside_the_vocabulary(tokenizer: ModelTokenizer, term_id: int) -> None:
    assert tokenizer.term(30521) == "##～"
    with pytest.raises(UnknownTerm, match="30522 terms"):
        tokenizer.term(term_id)


def test_a_missing_tokenizer(tmp_path: Path, spec: ModelSpec) -> None:
    with pytest.raises(ModelSourceError, match="does not exist"):
        ModelTokenizer(tmp_path, spec)


def test_an_altered_tokenizer(tmp_path: Path, folder: Path, spec: ModelSpec) -> None:
    shutil.copy(folder / "tokenizer.json", tmp_path)
    with (tmp_path / "tokenizer.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ModelSourceError, match="is not the tokenizer"):
        ModelTokenizer(tmp_path, spec)


def test_a_tokenizer_larger_than_the_model(folder: Path, spec: ModelSpec) -> None:
    small = replace(spec, identity=replace(spec.identity, vocabulary_size=30000))
    with pytest.raises(ModelSourceError, match="30522 tokens, the model only 30000"):
        ModelTokenizer(folder, small)
