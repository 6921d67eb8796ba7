"""The exported graph against BERT in plain NumPy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.inference.onnx import OnnxGraph
from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.export import export_graph, identity_of
from sparsegate_server.models.spec import ModelIdentity, Output

from . import bert_oracle
from .formulas import TEXTS, batch


def run(
    folder: Path,
    checkpoint: Checkpoint,
    texts: list[list[int]] = TEXTS,
    output: Output = "terms",
    identity: ModelIdentity | None = None,
) -> dict[str, NDArray[np.generic]]:
    graph = folder / "model.onnx"
    graph.write_bytes(export_graph(checkpoint, identity or identity_of(checkpoint), output))
    return OnnxGraph(graph).run(batch(texts))


def dense(outputs: dict[str, NDArray[np.generic]], vocabulary: int) -> NDArray[np.float64]:
    values = outputs["values"].astype(np.float64)
    rows = np.zeros((len(values), vocabulary))
    np.put_along_axis(rows, outputs["indices"].astype(np.int64), values, axis=1)
    return rows


@pytest.mark.parametrize("old_names", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_terms_are_those_of_the_formula(tmp_path: Path, old_names: bool, tied: bool) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path, old_names=old_names, tied=tied)
    outputs = run(tmp_path, checkpoint)
    expected = np.stack([bert_oracle.weights(checkpoint, text) for text in TEXTS])
    np.testing.assert_allclose(dense(outputs, 50), expected, atol=1e-5)
    counts = (expected > 0).sum(axis=1)
    assert outputs["values"].shape == (3, counts.max())
    assert ((outputs["values"] > 0).sum(axis=1) == counts).all()
    assert (np.diff(outputs["values"].astype(np.float64), axis=1) <= 0).all()
    assert outputs["indices"].dtype == np.uint16


def test_logits_are_those_of_every_token(tmp_path: Path) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    outputs = run(tmp_path, checkpoint, output="logits")
    for row, text in zip(outputs["logits"], TEXTS, strict=True):
        expected = bert_oracle.logits(checkpoint, text)
        np.testing.assert_allclose(row[: len(text)], expected, atol=1e-4)


def test_padding_changes_nothing(tmp_path: Path) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    together = dense(run(tmp_path, checkpoint), 50)
    for at, text in enumerate(TEXTS):
        alone = dense(run(tmp_path, checkpoint, [text]), 50)[0]
        np.testing.assert_allclose(together[at], alone, atol=1e-6)


def test_a_row_of_padding_gives_numbers(tmp_path: Path) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    assert np.isfinite(run(tmp_path, checkpoint, [[], [2, 3]])["values"].astype(float)).all()


@pytest.mark.parametrize("extra", [0, 1, 2])
def test_a_capped_row_can_be_told_from_one_that_fits(tmp_path: Path, extra: int) -> None:
    """k is the fullest row's count, at most one above the cap."""
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    fullest = max(int((bert_oracle.weights(checkpoint, text) > 0).sum()) for text in TEXTS)
    identity = replace(identity_of(checkpoint), max_terms=fullest - extra)
    outputs = run(tmp_path, checkpoint, identity=identity)
    assert outputs["values"].shape[1] == min(fullest, identity.max_terms + 1)


def test_the_threshold_drops_weights_at_or_below_it(tmp_path: Path) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    identity = replace(identity_of(checkpoint), threshold=0.7)
    found = dense(run(tmp_path, checkpoint, identity=identity), 50)
    expected = np.stack([bert_oracle.weights(checkpoint, text) for text in TEXTS])
    np.testing.assert_allclose(found, np.where(expected > 0.7, expected, 0), atol=1e-5)


def test_a_large_vocabulary_has_wide_ids(tmp_path: Path) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path, vocabulary=65537)
    outputs = run(tmp_path, checkpoint, [[2, 65536, 3]], identity=None)
    assert outputs["indices"].dtype == np.uint32


def test_equal_checkpoints_give_equal_bytes(tmp_path: Path) -> None:
    one = bert_oracle.write_checkpoint(tmp_path / "one")
    other = bert_oracle.write_checkpoint(tmp_path / "other")
    identity = identity_of(one)
    assert identity == identity_of(other)
    assert export_graph(one, identity, "terms") == export_graph(other, identity, "terms")


def test_only_float32_terms_have_a_screen(tmp_path: Path) -> None:
    checkpoint = bert_oracle.write_checkpoint(tmp_path)
    identity = identity_of(checkpoint)
    assert b"MatMulInteger" in export_graph(checkpoint, identity, screened=True)
    assert b"MatMulInteger" not in export_graph(checkpoint, identity)
    outputs: tuple[Output, ...] = ("pooled", "logits")
    for output in outputs:
        plain, screened = (
            export_graph(checkpoint, identity, output, screened=each) for each in (False, True)
        )
        assert plain == screened


def test_the_identity_depends_on_the_number_of_heads(tmp_path: Path) -> None:
    one = bert_oracle.write_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text('{"num_attention_heads": 2}')
    assert identity_of(Checkpoint.load(tmp_path)).fingerprint != identity_of(one).fingerprint


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"hidden_act": "relu"}', "hidden_act"),
        ('{"num_attention_heads": 5}', "do not fit together"),
        ("[]", "not a JSON object"),
        ("{", "not JSON"),
    ],
)
def test_a_config_that_is_not_understood(tmp_path: Path, config: str, words: str) -> None:
    bert_oracle.write_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelSourceError, match=words):
        Checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    "name", ["bert.embeddings.word_embeddings.weight", "cls.predictions.transform.dense.bias"]
)
def test_a_missing_tensor_is_named(tmp_path: Path, name: str) -> None:
    bert_oracle.write_checkpoint(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors[name]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelSourceError, match=name):
        run(tmp_path, Checkpoint.load(tmp_path))


def test_a_file_that_is_no_safetensors(tmp_path: Path) -> None:
    bert_oracle.write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelSourceError, match=r"no safetensors file.*fetch it again"):
        Checkpoint.load(tmp_path)
