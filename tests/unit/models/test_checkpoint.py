"""Checkpoints of every shape and format, read under their own names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.export import export_graph, identity_of
from sparsegate_server.models.pull import pull

from . import bert_oracle, family_oracle
from .checkpoint_files import FORMATS, Arrays, bert_tensors, write
from .family_oracle import DISTILBERT, ROBERTA, VOCABULARY, Family

TEXT = [2, 7, 9, 30, 3]
FAMILIES = pytest.mark.parametrize("family", [DISTILBERT, ROBERTA], ids=lambda each: each.name)
SPECIALS = (0, 1, 2, 3, 4)


def logits_of_graph(checkpoint: Checkpoint, ids: list[int]) -> NDArray[np.float32]:
    graph = export_graph(checkpoint, identity_of(checkpoint), "logits")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    inputs = {"input_ids": [ids], "attention_mask": [[1] * len(ids)]}
    found = session.run(None, {name: np.array(x, np.int32) for name, x in inputs.items()})
    return np.asarray(found[0][0], np.float32)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(tmp_path: Path, number: float) -> None:
    tensors = bert_tensors(tmp_path)
    name = "bert.encoder.layer.1.output.dense.weight"
    tensors[name][2, :2] = number
    folder = write(tmp_path / "own", tensors)
    with pytest.raises(ModelSourceError, match=f"^{folder}: the tensor {name} has 2 numbers"):
        Checkpoint.load(folder)


@FAMILIES
@pytest.mark.parametrize("prefix", ["", "module.", "transformer_rep.transformer."])
def test_tensors_get_berts_names(tmp_path: Path, family: Family, prefix: str) -> None:
    own = family.tensors()
    own = {f"{prefix}{name}": tensor for name, tensor in own.items()}
    own["optimizer.step"] = np.ones(1, np.float32)
    checkpoint = Checkpoint.load(write(tmp_path, own, family.config))
    expected = {ours: own[prefix + theirs] for theirs, ours in family.canonical.items()}
    if family is ROBERTA:
        places = "bert.embeddings.position_embeddings.weight"
        expected[places] = expected[places][2:]
    else:
        types = np.zeros((1, bert_oracle.HIDDEN), np.float32)
        expected["bert.embeddings.token_type_embeddings.weight"] = types
    assert checkpoint.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(checkpoint.tensors[name], tensor)
    unused = 2 * bert_oracle.HIDDEN if family is ROBERTA else 0
    assert checkpoint.parameters == sum(own[prefix + n].size for n in family.canonical) - unused
    assert checkpoint.shape.positions == family_oracle.POSITIONS
    assert checkpoint.shape.layers == bert_oracle.LAYERS
    assert checkpoint.architecture == family.name
    assert checkpoint.special_ids == SPECIALS


@FAMILIES
@pytest.mark.parametrize("tied", [True, False])
def test_the_graph_is_the_architectures_own(tmp_path: Path, family: Family, tied: bool) -> None:
    own = family.tensors()
    if not tied:
        name = "vocab_projector.weight" if family is DISTILBERT else "lm_head.decoder.weight"
        own[name] = np.random.default_rng(1).normal(size=(VOCABULARY, 12)).astype(np.float32)
    checkpoint = Checkpoint.load(write(tmp_path, own, family.config))
    longest = list(range(checkpoint.shape.positions))
    for ids in (TEXT, longest):
        found = logits_of_graph(checkpoint, ids)
        np.testing.assert_allclose(found, family.logits(own, ids), atol=1e-4)


@FAMILIES
@pytest.mark.parametrize("save", FORMATS)
def test_every_format_is_the_same_model(
    tmp_path: Path, family: Family, save: Callable[[Arrays, Path], None]
) -> None:
    own = family.tensors()
    first = Checkpoint.load(write(tmp_path / "safetensors", own, family.config))
    again = Checkpoint.load(write(tmp_path / "other", own, family.config, save))
    assert again.tensors.keys() == first.tensors.keys()
    assert again.weights_sha256 == first.weights_sha256


@pytest.mark.parametrize("save", FORMATS)
def test_bert_is_one_model_under_old_and_new_names(
    tmp_path: Path, save: Callable[[Arrays, Path], None]
) -> None:
    config = {"num_attention_heads": bert_oracle.HEADS}
    new = bert_tensors(tmp_path)
    old = bert_tensors(tmp_path, old_names=True)
    # What other heads of the training left behind, and the decoder's tied copies.
    left = {
        "bert.pooler.dense.weight": np.ones((12, 12), np.float32),
        "cls.seq_relationship.bias": np.ones(2, np.float32),
        "bert.embeddings.position_ids": np.arange(24, dtype=np.int64)[None],
        "cls.predictions.decoder.weight": new["bert.embeddings.word_embeddings.weight"],
        "cls.predictions.decoder.bias": new["cls.predictions.bias"],
    }
    sums = {
        Checkpoint.load(write(tmp_path / str(at), tensors, config, save)).weights_sha256
        for at, tensors in enumerate([new, old, new | left])
    }
    assert len(sums) == 1


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_half_precision_is_widened(tmp_path: Path, dtype: str) -> None:
    tensors = bert_tensors(tmp_path)
    exact = {name: (t * 32).round().astype(np.float32) / 32 for name, t in tensors.items()}
    folder = write(tmp_path / "half", exact)
    if dtype == "F16":
        save_file({n: t.astype(np.float16) for n, t in exact.items()}, folder / "model.safetensors")
    else:
        exact = {n: (t.view(np.uint32) & 0xFFFF0000).view(np.float32) for n, t in exact.items()}
        (folder / "model.safetensors").write_bytes(bfloat16_file(exact))
    checkpoint = Checkpoint.load(folder)
    for name, tensor in exact.items():
        np.testing.assert_array_equal(checkpoint.tensors[name], tensor)
        assert checkpoint.tensors[name].dtype == np.float32


def bfloat16_file(tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    """safetensors, written by hand: NumPy cannot hand it over."""
    header, content = {}, b""
    for name, tensor in tensors.items():
        raw = (tensor.view(np.uint32) >> 16).astype("<u2").tobytes()
        offsets = [len(content), len(content) + len(raw)]
        header[name] = {"dtype": "BF16", "shape": tensor.shape, "data_offsets": offsets}
        content += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


def test_splade_tiny_keeps_its_sums() -> None:
    checkpoint = Checkpoint.load(pull("splade-tiny").folder)
    assert checkpoint.weights_sha256 == (
        "4c70820af7d1d6b03146831076ad687b71eecb9e392e5afff3b3f2e69c83dfd4"
    )
    assert checkpoint.parameters == 4_416_698
    assert checkpoint.query_weights is None
    assert checkpoint.pooling is None


@pytest.mark.parametrize("name", ["cls.predictions.bias", "cls.predictions.decoder.bias"])
@pytest.mark.parametrize("size", [VOCABULARY - 2, VOCABULARY, VOCABULARY + 3])
def test_the_decoders_bias_has_two_names_and_any_size(tmp_path: Path, name: str, size: int) -> None:
    tensors = bert_tensors(tmp_path)
    del tensors["cls.predictions.bias"]
    bias = np.arange(1, size + 1, dtype=np.float32)
    found = Checkpoint.load(write(tmp_path / "m", tensors | {name: bias}))
    expected = np.zeros(VOCABULARY, np.float32)
    expected[:size] = bias[:VOCABULARY]
    np.testing.assert_array_equal(found.tensors["cls.predictions.bias"], expected)


def test_a_decoder_without_a_bias_has_one_of_zeros(tmp_path: Path) -> None:
    tensors = bert_tensors(tmp_path)
    del tensors["cls.predictions.bias"]
    assert not Checkpoint.load(write(tmp_path / "m", tensors)).tensors["cls.predictions.bias"].any()


@pytest.mark.parametrize("tied", [True, False])
def test_rows_that_pad_the_vocabulary_are_cut_off(tmp_path: Path, tied: bool) -> None:
    tensors = bert_tensors(tmp_path, tied=tied)
    padded = dict(tensors)
    for name in tensors:
        if len(tensors[name]) == VOCABULARY:
            padding = np.full((14, *tensors[name].shape[1:]), 9, np.float32)
            padded[name] = np.concatenate([tensors[name], padding])
    plain = Checkpoint.load(write(tmp_path / "plain", tensors))
    cut = Checkpoint.load(write(tmp_path / "padded", padded))
    assert cut.shape.vocabulary_size == VOCABULARY
    assert cut.weights_sha256 == plain.weights_sha256


def test_positions_begin_behind_the_padding_token(tmp_path: Path) -> None:
    own = ROBERTA.tensors()
    found = Checkpoint.load(write(tmp_path, own, ROBERTA.config | {"pad_token_id": 0}))
    assert found.shape.positions == family_oracle.POSITIONS + 1


def change(tensors: Arrays, name: str, array: NDArray[Any] | None) -> Arrays:
    return {n: t for n, t in tensors.items() if n != name} | (
        {} if array is None else {name: array}
    )


WORDS = "bert.embeddings.word_embeddings.weight"


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        (WORDS, None, f"no tensor {WORDS}"),
        ("cls.predictions.transform.dense.weight", None, "masked-language-model head"),
        ("bert.encoder.layer.1.output.dense.bias", None, "layer.1.output.dense.bias"),
        (WORDS, np.zeros((49, 12), np.float32), "ids up to 49, the model has 49"),
        (WORDS, np.zeros((50, 11), np.float32), "do not fit together"),
        (WORDS, np.zeros(50, np.float32), "do not fit together"),
        ("cls.predictions.decoder.weight", np.zeros((51, 12), np.float32), "the decoder is"),
        ("cls.predictions.bias", np.zeros((2, 2), np.float32), "not one row"),
        ("cls.predictions.decoder.bias", np.ones(50, np.float32), "biases that differ"),
        ("bert.encoder.layer.3.output.dense.bias", np.ones(12, np.float32), r"\[0, 1, 3\]"),
        ("bert.encoder.layer.0.output.dense.weight", np.ones((48, 12), np.float32), r"\(48, 12\)"),
        ("query." + WORDS, np.ones((50, 12), np.float32), "several encoders, 'bert', 'query.bert'"),
        ("distilbert.embeddings.word_embeddings.weight", np.ones((5, 1)), "several encoders"),
    ],
)
def test_tensors_that_are_no_whole_bert(
    tmp_path: Path, name: str, array: NDArray[Any] | None, words: str
) -> None:
    folder = write(tmp_path / "m", change(bert_tensors(tmp_path), name, array))
    with pytest.raises(ModelSourceError, match=words):
        Checkpoint.load(folder)


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        (
            DISTILBERT,
            {"activation": "relu"},
            "activation 'relu' is not supported, only 'gelu'",
        ),
        (ROBERTA, {"hidden_act": "gelu_new"}, "hidden_act 'gelu_new'"),
        (ROBERTA, {"model_type": "xmod"}, "model_type 'xmod' is not supported"),
        (ROBERTA, {"position_embedding_type": "relative_key"}, "relative_key"),
        (ROBERTA, {"is_decoder": True}, "is_decoder"),
        (ROBERTA, {"pad_token_id": -1}, "pad_token_id"),
        (ROBERTA, {"pad_token_id": 100}, "0 positions"),
        (ROBERTA, {"layer_norm_eps": "small"}, "layer_norm_eps"),
        (DISTILBERT, {"n_layers": 6}, "n_layers 6"),
        (DISTILBERT, {"n_heads": 0}, "n_heads 0"),
        (DISTILBERT, {"n_heads": 5}, "do not fit together"),
    ],
)
def test_a_config_of_another_model(
    tmp_path: Path, family: Family, changes: dict[str, Any], words: str
) -> None:
    folder = write(tmp_path, family.tensors(), family.config | changes)
    with pytest.raises(ModelSourceError, match=words):
        Checkpoint.load(folder)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({}, "no weight_map"),
        ({"weight_map": {"a": 1}}, "no weight_map"),
        ({"weight_map": {"a": "gone.safetensors"}}, "'gone.safetensors', which is not beside"),
        ({"weight_map": {"a": "../bert/model.safetensors"}}, "which is not beside it"),
        ({"weight_map": {"a": ""}}, "which is not beside it"),
    ],
)
def test_an_index_that_does_not_hold(tmp_path: Path, index: dict[str, Any], words: str) -> None:
    folder = write(tmp_path / "m", bert_tensors(tmp_path))
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelSourceError, match=words):
        Checkpoint.load(folder)


def test_a_folder_without_weights_says_what_was_looked_for(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", bert_tensors(tmp_path))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelSourceError, match=r"pytorch_model\.bin\.index\.json"):
        Checkpoint.load(folder)


def test_an_unknown_number_of_heads_is_not_guessed(tmp_path: Path) -> None:
    write(tmp_path / "bert", bert_tensors(tmp_path))
    (tmp_path / "bert" / "config.json").unlink()
    with pytest.raises(ModelSourceError, match=r"no config\.json that says num_attention_heads"):
        Checkpoint.load(tmp_path / "bert")
