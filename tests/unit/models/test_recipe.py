"""What a checkpoint's files and the user say of a model's vectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.checkpoint import Checkpoint, Pooling
from sparsegate_server.models.export import identity_of
from sparsegate_server.models.query_table import (
    QUERY_TABLE_FILE,
    load_query_table,
    table_bytes,
    table_sha256,
)
from sparsegate_server.models.recipe import FamilyChoice, Recipe, family_of, recipe_of

from . import bert_oracle

TABLE = np.arange(50, dtype=np.float32) / 10


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return bert_oracle.write_checkpoint(tmp_path)


def test_a_checkpoint_that_says_nothing_is_a_splade(checkpoint: Checkpoint) -> None:
    assert recipe_of(checkpoint) == Recipe("splade", "max", "log1p", drop_special=False)


def test_the_files_say_pooling_activation_and_family(checkpoint: Checkpoint) -> None:
    stated = replace(checkpoint, pooling=Pooling("sum", "log1p_relu"), query_weights=TABLE)
    assert recipe_of(stated) == Recipe("splade-doc", "sum", "log1p-twice", drop_special=True)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (FamilyChoice.SPLADE, Recipe("splade", "sum")),
        (FamilyChoice.SPLADE_MAX, Recipe("splade", "max")),
        (FamilyChoice.SPLADE_SUM, Recipe("splade", "sum")),
        (FamilyChoice.SPLADE_DOC, Recipe("splade-doc", "sum", drop_special=True)),
    ],
)
def test_the_user_has_the_last_word(
    checkpoint: Checkpoint, family: FamilyChoice, expected: Recipe
) -> None:
    stated = replace(checkpoint, pooling=Pooling("sum", "log1p_relu"))
    assert recipe_of(stated, family=family, activation="log1p") == expected
    kept = recipe_of(stated, family=family, activation="log1p", drop_special=False)
    assert kept == replace(expected, drop_special=False)


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (Recipe(), "splade"),
        (Recipe(pooling="sum"), "splade-sum"),
        (Recipe("splade-doc"), "splade-doc"),
    ],
)
def test_a_family_is_named_as_the_user_names_it(
    checkpoint: Checkpoint, recipe: Recipe, name: str
) -> None:
    assert family_of(identity_of(checkpoint, recipe)) == name


def test_the_table_of_query_weights_is_in_the_identity(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    recipe = Recipe("splade-doc", drop_special=True)
    plain = identity_of(checkpoint, recipe)
    weighed = identity_of(replace(checkpoint, query_weights=TABLE), recipe)
    assert (plain.idf_sha256, weighed.idf_sha256) == ("", table_sha256(TABLE))

    ones = load_query_table(tmp_path, plain)
    assert ones.tolist() == [0.0] * 5 + [1.0] * 45
    (tmp_path / QUERY_TABLE_FILE).write_bytes(table_bytes(TABLE))
    read = load_query_table(tmp_path, weighed)
    assert read[5:].tolist() == TABLE[5:].tolist()
    assert not read[:5].any()
    assert not read.flags.writeable


@pytest.mark.parametrize(
    "content", [b"", b"no array", table_bytes(TABLE[:-1]), table_bytes(-TABLE)]
)
def test_a_table_that_is_not_the_models(
    checkpoint: Checkpoint, tmp_path: Path, content: bytes
) -> None:
    identity = identity_of(replace(checkpoint, query_weights=TABLE), Recipe("splade-doc"))
    with pytest.raises(ModelSourceError, match="export the model again"):
        load_query_table(tmp_path, identity)
    (tmp_path / QUERY_TABLE_FILE).write_bytes(content)
    with pytest.raises(ModelSourceError, match="export the model again"):
        load_query_table(tmp_path, identity)


def test_a_query_checkpoint_is_in_the_identity(checkpoint: Checkpoint, tmp_path: Path) -> None:
    tensors = {**checkpoint.tensors, "cls.predictions.bias": np.zeros(50, np.float32)}
    shorter = replace(checkpoint.shape, positions=12)
    queries = replace(checkpoint, tensors=tensors, shape=shorter)
    identity = identity_of(checkpoint, queries=queries)
    assert identity.query_weights_sha256 == queries.weights_sha256
    assert identity.weights_sha256 == checkpoint.weights_sha256
    assert (identity.queries, identity.max_length) == ("graph", 12)


def test_checkpoints_that_do_not_go_together(checkpoint: Checkpoint, tmp_path: Path) -> None:
    other = bert_oracle.write_checkpoint(tmp_path / "other", vocabulary=49)
    with pytest.raises(ModelSourceError, match="different vocabularies"):
        identity_of(checkpoint, queries=other)
    with pytest.raises(ModelSourceError, match="leave --query out"):
        identity_of(checkpoint, Recipe("splade-doc"), checkpoint)
    ways = (replace(checkpoint, pooling=Pooling(strategy)) for strategy in ("max", "sum"))
    with pytest.raises(ModelSourceError, match="two ways in one model"):
        identity_of(next(ways), queries=next(ways))
