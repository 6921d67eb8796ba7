"""Where sentence-transformers puts a checkpoint's parts, and what queries' tokens weigh."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.checkpoint import Checkpoint, Pooling

from . import bert_oracle
from .checkpoint_files import bert_tensors, write
from .family_oracle import DISTILBERT, VOCABULARY

WORDS = "bert.embeddings.word_embeddings.weight"


def modules(folder: Path, *parts: tuple[str, str]) -> None:
    """modules.json as sentence-transformers writes it: each part's path and class."""
    content = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(parts)
    ]
    (folder / "modules.json").write_text(json.dumps(content))


def router(folder: Path, documents: dict[str, str], queries: dict[str, str]) -> None:
    modules(folder, ("", "Router"))
    types = {id: f"sentence_transformers.models.{k}" for id, k in (documents | queries).items()}
    structure = {"document": list(documents), "query": list(queries)}
    content = {"types": types, "structure": structure, "parameters": {}}
    (folder / "router_config.json").write_text(json.dumps(content))


def pooling(folder: Path, **content: Any) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize("place", ["", "0_MLMTransformer"])
def test_sentence_transformers_modules(tmp_path: Path, place: str) -> None:
    write(tmp_path / place, DISTILBERT.tensors(), DISTILBERT.config)
    modules(tmp_path, (place, "MLMTransformer"), ("1_SpladePooling", "SpladePooling"))
    pooling(tmp_path / "1_SpladePooling", pooling_strategy="sum", activation_function="log1p_relu")
    checkpoint = Checkpoint.load(tmp_path)
    assert checkpoint.architecture == "DistilBERT"
    assert checkpoint.pooling == Pooling("sum", "log1p_relu")
    assert Checkpoint.load_query(tmp_path) is None


@pytest.mark.parametrize("where", ["root", "module"])
def test_an_inference_free_router(tmp_path: Path, where: str) -> None:
    """opensearch-neural-sparse-encoding-doc-*: the encoder in the root; newer ones in a module."""
    place = "" if where == "root" else "document_0_MLMTransformer"
    write(tmp_path / place, DISTILBERT.tensors(), DISTILBERT.config)
    router(
        tmp_path,
        {place: "MLMTransformer", "document_1_SpladePooling": "SpladePooling"},
        {"query_0_SparseStaticEmbedding": "SparseStaticEmbedding"},
    )
    pooling(tmp_path / "document_1_SpladePooling", pooling_strategy="max")
    static = tmp_path / "query_0_SparseStaticEmbedding"
    weights = np.arange(48, dtype=np.float32)
    write(static, {"weight": weights})
    checkpoint = Checkpoint.load(tmp_path)
    assert checkpoint.pooling == Pooling()
    np.testing.assert_array_equal(checkpoint.query_weights, [*weights, 0, 0])
    assert Checkpoint.load_query(tmp_path) is None
    bert_oracle.write_tokenizer(static / "tokenizer.json", 48)
    with pytest.raises(ModelSourceError, match="another vocabulary"):
        Checkpoint.load(tmp_path)


@pytest.mark.parametrize("root", ["document", "query"])
def test_queries_with_an_encoder_of_their_own(tmp_path: Path, root: str) -> None:
    """Efficient SPLADE: both repositories, of documents and of queries, hold the other one too."""
    documents, queries = DISTILBERT.tensors(), bert_tensors(tmp_path)
    folder = tmp_path / "model"
    places = {"document": "document_0_MLMTransformer", "query": "query_0_MLMTransformer"}
    places[root] = ""
    write(folder / places["document"], documents, DISTILBERT.config)
    write(folder / places["query"], queries, {"num_attention_heads": 3})
    router(folder, {places["document"]: "MLMTransformer"}, {places["query"]: "MLMTransformer"})
    query = Checkpoint.load_query(folder)
    assert query is not None
    assert (Checkpoint.load(folder).architecture, query.architecture) == ("DistilBERT", "BERT")
    np.testing.assert_array_equal(query.tensors[WORDS], queries[WORDS])
    bert_oracle.write_tokenizer(folder / places["query"] / "tokenizer.json", 48)
    with pytest.raises(ModelSourceError, match="different vocabularies"):
        Checkpoint.load_query(folder)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([("", "Normalize")], r"models\.Normalize' is not supported"),
        ([("../other", "MLMTransformer")], "no folder of the checkpoint"),
        ([("/etc", "MLMTransformer")], "no folder of the checkpoint"),
        ([("0_MLMTransformer", "MLMTransformer")], "0_MLMTransformer has no weights"),
        ([("", "Router")], r"router_config\.json"),
    ],
)
def test_modules_that_are_not_understood(
    tmp_path: Path, parts: list[tuple[str, str]], words: str
) -> None:
    write(tmp_path, DISTILBERT.tensors(), DISTILBERT.config)
    modules(tmp_path, *parts)
    with pytest.raises(ModelSourceError, match=words):
        Checkpoint.load(tmp_path)


@pytest.mark.parametrize("content", ["{", "{}", "[1]"])
def test_a_modules_file_that_is_none(tmp_path: Path, content: str) -> None:
    write(tmp_path, DISTILBERT.tensors(), DISTILBERT.config)
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(ModelSourceError, match=r"modules\.json"):
        Checkpoint.load(tmp_path)


def test_a_pooling_that_there_is_no_graph_for(tmp_path: Path) -> None:
    write(tmp_path, DISTILBERT.tensors(), DISTILBERT.config)
    modules(tmp_path, ("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling"))
    pooling(tmp_path / "1_SpladePooling", pooling_strategy="mean")
    with pytest.raises(ModelSourceError, match="pooling 'mean' of 'relu' is not supported"):
        Checkpoint.load(tmp_path)


IDF = {"w7": 1.5, "w49": 2, "[PAD]": 0.25, "never-made": 9.0}


@pytest.mark.parametrize("file", ["idf.json", "query_token_weights.txt"])
def test_weights_of_query_tokens(tmp_path: Path, file: str) -> None:
    write(tmp_path, DISTILBERT.tensors(), DISTILBERT.config)
    lines = "".join(f"{token}\t{weight}\n" for token, weight in IDF.items())
    (tmp_path / file).write_text(json.dumps(IDF) if file.endswith("json") else lines)
    found = Checkpoint.load(tmp_path).query_weights
    expected = np.zeros(VOCABULARY, np.float32)
    expected[[7, 49, 0]] = 1.5, 2, 0.25
    assert found is not None
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("idf.json", '{"a": 1, "b": 2, "w7": 1}', "1 of its 3, and not 'a'.*take it away"),
        ("idf.json", '{"w7": [1]}', "one number a token"),
        ("idf.json", '{"w7": NaN}', "not a number"),
        ("idf.json", "[]", "not a JSON object"),
        ("query_token_weights.txt", "w7 1\n", "a token and a number a line"),
        ("query_token_weights.txt", "w7\tmuch\n", "a token and a number a line"),
    ],
)
def test_weights_that_are_not_understood(
    tmp_path: Path, file: str, content: str, words: str
) -> None:
    write(tmp_path, DISTILBERT.tensors(), DISTILBERT.config)
    (tmp_path / file).write_text(content)
    with pytest.raises(ModelSourceError, match=words):
        Checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    "place", ["idf.json", "query_0_SparseStaticEmbedding/idf.json", "query_0_IDF/own.json", ""]
)
def test_a_module_that_names_a_file_of_weights(tmp_path: Path, place: str) -> None:
    write(tmp_path, DISTILBERT.tensors(), DISTILBERT.config)
    kind = "IDF" if "IDF" in place else "SparseStaticEmbedding"
    router(tmp_path, {"": "MLMTransformer"}, {f"query_0_{kind}": kind})
    static = tmp_path / f"query_0_{kind}"
    static.mkdir()
    (static / "config.json").write_text(json.dumps({"path": place, "frozen": True}))
    if place:
        (tmp_path / place).write_text('{"w7": 1.5}')
        found = Checkpoint.load(tmp_path).query_weights
        assert found is not None
        assert found[7] == found.sum() == 1.5
    else:
        with pytest.raises(ModelSourceError, match=r"has no weights, and there is no idf\.json"):
            Checkpoint.load(tmp_path)


@pytest.mark.parametrize("size", [VOCABULARY + 2, 0])
def test_a_module_that_weighs_more_tokens_than_there_are(tmp_path: Path, size: int) -> None:
    write(tmp_path, DISTILBERT.tensors(), DISTILBERT.config)
    router(tmp_path, {"": "MLMTransformer"}, {"query": "SparseStaticEmbedding"})
    write(tmp_path / "query", {"weight" if size else "other": np.ones(size or 3, np.float32)})
    with pytest.raises(ModelSourceError, match=r"weighs 52 tokens|no row of numbers"):
        Checkpoint.load(tmp_path)
