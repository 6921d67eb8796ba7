"""BEIR folders, samples of them, and the text that every machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.parity import docstrings as built_in
from sparsegate_server.parity.docstrings import docstrings
from sparsegate_server.parity.texts import TextSet, read_beir, spread

from .small import DOCUMENTS, QUERIES, write_beir


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    return write_beir(tmp_path / "some")


def test_a_folder(beir: Path) -> None:
    with (beir / "corpus.jsonl").open("a") as stream:
        stream.write('{"_id": 7, "title": "A title", "text": "and text"}\n\n')
    with (beir / "qrels" / "test.tsv").open("a") as stream:
        stream.write("q0\t7\t2\nq1\td5\t0\nnobody\td1\t1\nq2\tnothing\t1\n")
    texts = read_beir(beir)
    assert texts.name == "some"
    assert (len(texts.documents), len(texts.queries)) == (DOCUMENTS + 1, QUERIES)
    assert texts.documents[-1] == "A title and text"
    assert texts.relevant[:2] == ({0: 1.0, DOCUMENTS: 2.0}, {1: 1.0})
    assert texts.queries[3] == texts.documents[3][:7].strip()


def test_the_sum_is_of_the_content(beir: Path, tmp_path: Path) -> None:
    same = read_beir(write_beir(tmp_path / "another"))
    assert same.sha256 == read_beir(beir).sha256
    graded = TextSet(same.name, same.documents, same.queries, ({0: 2.0}, *same.relevant[1:]))
    assert graded.sha256 != same.sha256


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("corpus.jsonl", None, "a BEIR folder has corpus.jsonl"),
        ("queries.jsonl", '{"_id": "q1"}', "line 1: not a JSON object with _id and text"),
        ("queries.jsonl", "[]", "line 1: not a JSON object"),
        ("qrels/test.tsv", "q\td\ts\nq1 d1 1\n", "line 2: not a query's id"),
        ("qrels/test.tsv", "q\td\ts\nq1\td99\t1\n", "judges no document"),
    ],
)
def test_a_folder_that_is_none(beir: Path, file: str, content: str | None, words: str) -> None:
    (beir / file).unlink()
    if content is not None:
        (beir / file).write_text(content)
    with pytest.raises(ModelSourceError, match=words):
        read_beir(beir)


def test_a_sample_keeps_a_relevant_document_of_each_query(beir: Path) -> None:
    texts = read_beir(beir)
    small = texts.sample(5, 4)
    assert len(small.queries) == 4
    assert 5 <= len(small.documents) <= 9
    for query, relevant in zip(small.queries, small.relevant, strict=True):
        (at,) = relevant
        assert small.documents[at].startswith(query)
    assert small == texts.sample(5, 4)
    assert texts.sample(1000, 1000) is texts


def test_spread() -> None:
    assert spread(10, 3) == [0, 3, 6]
    assert spread(3, 10) == [0, 1, 2]


def test_the_built_in_text_is_english_of_some_length() -> None:
    texts = docstrings()
    assert (len(texts.documents), len(texts.queries)) == (built_in.DOCUMENTS, built_in.QUERIES)
    assert len({*texts.documents, *texts.queries}) == built_in.DOCUMENTS + built_in.QUERIES
    assert sum(len(text.split()) for text in texts.documents) > 20_000
    common = {"the", "of", "a", "is", "to", "and", "for", "if"}
    assert sum(bool(common & set(text.split())) for text in texts.documents) > 500


def test_the_built_in_text_is_the_same_in_every_process() -> None:
    code = "from sparsegate_server.parity.docstrings import docstrings; print(docstrings().sha256)"
    done = subprocess.run(
        [sys.executable, "-OO", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "5"},
    )
    assert done.stdout.strip() == docstrings().sha256


def test_a_library_without_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    empty = SimpleNamespace(get_path=lambda _: str(tmp_path))
    monkeypatch.setattr(built_in, "sysconfig", empty)
    with pytest.raises(ModelSourceError, match="--data"):
        docstrings.__wrapped__()
