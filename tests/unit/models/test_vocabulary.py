"""Tokenizers made from older vocabularies, against slow ones and against transformers' own ids."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.vocabulary import Vocabulary, read_vocabulary

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    *SPECIALS,
    *("hello", "Hello", "world", "##ld", "wor", "é", "e", "É", "E", "中", "文", ",", "!", "'"),
    *("a", "##a", "##b", "ab", "##ab", "b", "##bb"),
]
SPECIALS_BPE = ["<s>", "<pad>", "</s>", "<unk>"]
BYTES = ["Ġ", "!", ",", "a", "b", "c", "1", "Ã", "©"]
MERGES = ["a b", "Ġ a", "ab c", "Ġa b", "b b", "Ã ©", "1 1", "# #"]
PIECES = [*SPECIALS_BPE, *BYTES, *(m.replace(" ", "") for m in MERGES[:-1]), "#", "##", "<mask>"]


def wordpieces(
    folder: Path, config: dict[str, Any] | None = None, words: list[str] = WORDS
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def byte_pairs(folder: Path, config: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({piece: id for id, piece in enumerate(PIECES)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n")
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def tokens(vocabulary: Vocabulary, text: str) -> list[str]:
    return list(Tokenizer.from_buffer(vocabulary.content).encode(text).tokens)


@pytest.mark.parametrize(
    ("config", "text", "expected"),
    [
        (None, "Hello, WORLD É!", ["hello", ",", "world", "e", "!"]),
        ({"do_lower_case": False}, "Hello É", ["Hello", "É"]),
        ({"do_lower_case": True, "strip_accents": False}, "É", ["é"]),
        ({"do_lower_case": False, "strip_accents": True}, "É", ["E"]),
        (None, "中文a", ["中", "文", "a"]),
        ({"tokenize_chinese_chars": False}, "中文", ["[UNK]"]),
        (None, "abab worldly", ["ab", "##ab", "[UNK]"]),
        (None, "a" * 101, ["[UNK]"]),
        (None, "a" * 100, ["a", *["##a"] * 99]),
        (None, "", []),
    ],
)
def test_berts_wordpieces(
    tmp_path: Path, config: dict[str, Any] | None, text: str, expected: list[str]
) -> None:
    found = tokens(read_vocabulary(wordpieces(tmp_path, config)), text)
    assert found == ["[CLS]", *expected, "[SEP]"]


@pytest.mark.parametrize(
    ("config", "text", "expected"),
    [
        (None, "abc abca", ["abc", "Ġ", "abc", "a"]),
        ({"add_prefix_space": True}, "abc", ["Ġ", "abc"]),
        (None, " é11!", ["Ġ", "Ã©", "11", "!"]),
        (None, "", []),
    ],
)
def test_robertas_byte_pairs(
    tmp_path: Path, config: dict[str, Any] | None, text: str, expected: list[str]
) -> None:
    found = tokens(read_vocabulary(byte_pairs(tmp_path, config)), text)
    assert found == ["<s>", *expected, "</s>"]


@given(st.text("ab ,!'hello", max_size=20))
@settings(max_examples=150, deadline=None)
def test_wordpieces_are_the_longest_first(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / "wordpieces"
    words = re.findall(r"[a-z]+|[,!']", text)
    expected = [piece for word in words for piece in slow_wordpieces(word)]
    assert tokens(read_vocabulary(wordpieces(folder)), text) == ["[CLS]", *expected, "[SEP]"]


def slow_wordpieces(word: str) -> list[str]:
    pieces: list[str] = []
    start = 0
    while start < len(word):
        mark = "##" if start else ""
        ends = [e for e in range(len(word), start, -1) if mark + word[start:e] in WORDS]
        if not ends:
            return ["[UNK]"]
        pieces.append(mark + word[start : ends[0]])
        start = ends[0]
    return pieces


@given(st.text("abc1 !,#", max_size=20))
@settings(max_examples=150, deadline=None)
def test_byte_pairs_are_merged_by_rank(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "byte-pairs"
    # GPT-2's way to split, for the characters of this test.
    words = re.findall(r" ?[a-z]+| ?[0-9]+| ?[!,#]+|\s+(?!\S)|\s+", text)
    expected = [piece for word in words for piece in slow_merges(word.replace(" ", "Ġ"))]
    assert tokens(read_vocabulary(byte_pairs(folder)), text) == ["<s>", *expected, "</s>"]


def slow_merges(word: str) -> list[str]:
    pieces = list(word)
    for _ in word:
        pairs = [f"{a} {b}" for a, b in pairwise(pieces)]
        ranked = [(MERGES.index(pair), at) for at, pair in enumerate(pairs) if pair in MERGES]
        if ranked:
            _, at = min(ranked)
            pieces[at : at + 2] = ["".join(pieces[at : at + 2])]
    return pieces


def test_special_tokens_are_known_by_id(tmp_path: Path) -> None:
    found = read_vocabulary(wordpieces(tmp_path / "bert"))
    assert found.special_ids == (0, 1, 2, 3, 4)
    assert found.size == len(WORDS)
    assert found.tokens == {word: id for id, word in enumerate(WORDS)}
    found = read_vocabulary(byte_pairs(tmp_path / "roberta"))
    assert found.special_ids == (0, 1, 2, 3, PIECES.index("<mask>"))


def test_special_tokens_of_other_names(tmp_path: Path) -> None:
    words = ["<unk>", "<cls>", "<sep>", "a"]
    config = {"unk_token": {"content": "<unk>"}, "cls_token": "<cls>"}
    folder = wordpieces(tmp_path, config, words)
    (folder / "special_tokens_map.json").write_text('{"sep_token": "<sep>", "cls_token": "no"}')
    found = read_vocabulary(folder)
    assert tokens(found, "a b") == ["<cls>", "a", "<unk>", "<sep>"]
    assert found.special_ids == (0, 1, 2)


def test_tokens_that_were_added(tmp_path: Path) -> None:
    size = len(WORDS)
    config = {"added_tokens_decoder": {str(size + 1): {"content": "[TITLE]", "special": True}}}
    folder = wordpieces(tmp_path, config)
    (folder / "added_tokens.json").write_text(json.dumps({"newword": size, "[TITLE]": size + 1}))
    found = read_vocabulary(folder)
    assert found.size == size + 2
    assert found.special_ids == (0, 1, 2, 3, 4, size + 1)
    assert tokens(found, "hello newword") == ["[CLS]", "hello", "newword", "[SEP]"]


def test_a_tokenizer_json_is_taken_byte_for_byte(tmp_path: Path) -> None:
    made = read_vocabulary(wordpieces(tmp_path)).content
    own = json.dumps(json.loads(made), indent=3).encode()
    (tmp_path / "tokenizer.json").write_bytes(own)
    assert read_vocabulary(tmp_path).content == own


@pytest.mark.parametrize("write", [wordpieces, byte_pairs])
def test_what_is_made_twice_is_the_same_bytes(tmp_path: Path, write: Any) -> None:
    contents = {read_vocabulary(write(tmp_path / str(i))).content for i in range(3)}
    assert len(contents) == 1


def test_ends_of_lines_and_a_missing_last_one(tmp_path: Path) -> None:
    plain = read_vocabulary(wordpieces(tmp_path / "plain")).content
    for name, text in (("windows", "\r\n".join(WORDS) + "\r\n"), ("cut", "\n".join(WORDS))):
        folder = wordpieces(tmp_path / name)
        (folder / "vocab.txt").write_bytes(text.encode())
        assert read_vocabulary(folder).content == plain


def test_no_tokenizer_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "sentencepiece.bpe.model").touch()
    (tmp_path / "vocab.json").touch()
    with pytest.raises(ModelSourceError, match=r"vocab\.txt .*vocab\.json with merges\.txt"):
        read_vocabulary(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("tokenizer.json", b"{}", "no tokenizer that can be read"),
        ("tokenizer_config.json", b'{"tokenizer_class": "BertJapaneseTokenizer"}', "Japanese"),
        ("tokenizer_config.json", b'{"do_basic_tokenize": false}', "do_basic_tokenize"),
        ("tokenizer_config.json", b"[", "not JSON"),
        ("tokenizer_config.json", b'{"cls_token": "[NONE]"}', r"'\[NONE\]' is not in"),
        ("tokenizer_config.json", b'{"do_lower_case": "yes"}', "cannot be|can be"),
        ("tokenizer_config.json", b'{"added_tokens_decoder": {"9": {}}}', "can be read"),
        ("added_tokens.json", b'{"far": 99}', "should have id 99, and gets"),
        ("vocab.txt", b"\xff\n", "cannot be read"),
    ],
)
def test_a_tokenizer_that_is_not_understood(
    tmp_path: Path, file: str, content: bytes, words: str
) -> None:
    wordpieces(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ModelSourceError, match=words):
        read_vocabulary(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("merges.txt", b"#version\na b c\n", "no pair of tokens"),
        ("merges.txt", b"a zz\n", "can be read"),
        ("vocab.json", b"[]", "not a JSON object"),
        ("vocab.json", b'{"a": "b"}', "can be read"),
        ("tokenizer_config.json", b'{"tokenizer_class": "GPT2Tokenizer"}', "GPT2Tokenizer"),
    ],
)
def test_byte_pairs_that_are_not_understood(
    tmp_path: Path, file: str, content: bytes, words: str
) -> None:
    byte_pairs(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ModelSourceError, match=words):
        read_vocabulary(tmp_path)
