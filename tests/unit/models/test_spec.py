"""Identities: what they are made of, what stays as it was, and what differs."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from sparsegate_server.errors import ModelSourceError
from sparsegate_server.models.spec import ModelIdentity, ModelSpec

IDENTITY = ModelIdentity("splade", "w", "t", 100)
CHANGES = [
    {"family": "splade-doc"},
    {"weights_sha256": "other"},
    {"tokenizer_sha256": "other"},
    {"vocabulary_size": 99},
    {"pooling": "sum"},
    {"max_length": 256},
    {"max_terms": 10},
    {"threshold": 0.5},
    {"activation": "log1p-twice"},
    {"dropped_terms": (0, 3)},
    {"query_weights_sha256": "q"},
    {"family": "splade-doc", "idf_sha256": "i"},
]


def test_an_identity_of_the_first_fields_keeps_its_fingerprint() -> None:
    """Collections hold it: it must be what the first version made of these eight fields."""
    canonical = (
        '{"family":"splade","max_length":512,"max_terms":1024,"pooling":"max","threshold":0.0,'
        '"tokenizer_sha256":"t","vocabulary_size":100,"weights_sha256":"w"}'
    )
    assert json.dumps(IDENTITY.as_dict(), sort_keys=True, separators=(",", ":")) == canonical


@pytest.mark.parametrize("change", CHANGES)
def test_every_field_is_in_the_fingerprint_and_in_the_file(change: dict[str, object]) -> None:
    other = replace(IDENTITY, **change)  # type: ignore[arg-type]
    assert other.fingerprint != IDENTITY.fingerprint
    spec = ModelSpec("x", other)
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_every_field_of_an_identity_is_tried() -> None:
    assert {name for change in CHANGES for name in change} == {
        field.name for field in fields(ModelIdentity)
    }


def test_differences_name_the_field_and_both_values() -> None:
    other = replace(IDENTITY, pooling="sum", max_terms=10)
    assert [str(each) for each in IDENTITY.differences(other)] == [
        "pooling 'max' against 'sum'",
        "max_terms 1024 against 10",
    ]
    assert IDENTITY.differences(IDENTITY) == ()


@pytest.mark.parametrize(
    "change",
    [{"family": "splade-doc", "query_weights_sha256": "q"}, {"idf_sha256": "i"}],
)
def test_fields_that_contradict_each_other(change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="splade-doc"):
        replace(IDENTITY, **change)  # type: ignore[arg-type]
    raw = json.loads(ModelSpec("x", IDENTITY).to_json())
    raw["identity"] |= change
    with pytest.raises(ModelSourceError, match="export the model again"):
        ModelSpec.from_json(json.dumps(raw))


def test_which_graph_encodes_queries() -> None:
    same = ModelSpec("x", IDENTITY)
    assert same.for_queries == same
    assert same.served_names == ("x",)
    own = ModelSpec("x", replace(IDENTITY, query_weights_sha256="q"))
    assert own.for_queries == replace(own, name="x.query")
    assert own.served_names == ("x", "x.query")
    assert own.for_queries is not None
    assert own.for_queries.for_queries == own.for_queries
    assert own.for_queries.served_names == ("x.query",)
    none = ModelSpec("x", replace(IDENTITY, family="splade-doc"))
    assert none.for_queries is None
    assert none.served_names == ("x",)


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "int8"},
        {"backend": "tensorrt"},
        {"device": "gpu"},
        {"output": "pooled"},
        {"positions": True},
    ],
)
def test_execution_is_no_part_of_the_identity(change: dict[str, object]) -> None:
    spec = replace(ModelSpec("x", IDENTITY), **change)  # type: ignore[arg-type]
    assert spec.fingerprint == IDENTITY.fingerprint
    assert ModelSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("field", "value"),
    [("precision", "fp64"), ("backend", "openvino"), ("device", ["gpu"]), ("output", "")],
)
def test_a_description_says_nothing_that_cannot_be(field: str, value: object) -> None:
    raw = {**json.loads(ModelSpec("x", IDENTITY).to_json()), field: value}
    with pytest.raises(ModelSourceError, match=f"{field} .* is none of"):
        ModelSpec.from_json(json.dumps(raw))


def test_an_identity_says_nothing_that_cannot_be() -> None:
    """Also where the fingerprint is that of what it says."""
    later = ModelSpec("x", replace(IDENTITY, pooling="mean"))  # type: ignore[arg-type]
    with pytest.raises(ModelSourceError, match="pooling 'mean' is none of max, sum"):
        ModelSpec.from_json(later.to_json())


def test_a_description_of_the_first_version_is_read() -> None:
    raw = json.loads(ModelSpec("x", IDENTITY).to_json())
    for later in ("backend", "device", "positions"):
        del raw[later]
    assert ModelSpec.from_json(json.dumps(raw)) == ModelSpec("x", IDENTITY)
