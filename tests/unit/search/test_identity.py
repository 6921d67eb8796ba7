"""A model's identity in a collection, and what a refusal says of two models."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from sparsegate.v1 import model_pb2
from sparsegate_server.backends.base import Tier
from sparsegate_server.errors import FingerprintMismatch
from sparsegate_server.models.spec import ModelIdentity
from sparsegate_server.rpc.identity import identity_to
from sparsegate_server.rpc.status import describe, to_status
from sparsegate_server.search.identity import identity_of, mismatch

OWN = ModelIdentity("splade", "a" * 64, "b" * 64, 30522, dropped_terms=(0, 100, 101, 102, 103))
OTHER = replace(OWN, weights_sha256="c" * 64, pooling="sum")
QUERIES = replace(OWN, query_weights_sha256="d" * 64)


def collection(of: ModelIdentity = OWN, /, **changes: Any) -> Tier:
    """As it is read again: through JSON."""
    stored = json.loads(json.dumps(of.as_dict()))
    return replace(Tier("m", of.fingerprint, 30522, identity=stored), **changes)


def refusal(tier: Tier, given: ModelIdentity, known: bool = True) -> FingerprintMismatch:
    return mismatch(
        "made by the model with fingerprint",
        tier,
        given.fingerprint,
        given if known else None,
        remedy="encode with the collection's own model",
        field="documents[9999].vector.fingerprint",
    )


@pytest.mark.parametrize("identity", [OWN, OTHER, QUERIES])
def test_a_collection_gives_its_identity_back(identity: ModelIdentity) -> None:
    assert identity_of(collection(identity)) == identity


def test_an_older_collection_says_none() -> None:
    assert identity_of(collection(identity=None)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"new_field": 1},
        {"family": 5},
        {"vocabulary_size": -1},
        {"vocabulary_size": 2**32},
        {"vocabulary_size": True},
        {"max_length": "512"},
        {"threshold": None},
        {"dropped_terms": 5},
        {"dropped_terms": ["x"]},
        {"pooling": "sum"},
    ],
)
def test_a_stranger_s_identity_is_not_believed(changes: dict[str, Any]) -> None:
    """Not even one with a fingerprint of its own making."""
    raw = OWN.as_dict() | changes
    assert identity_of(collection(identity=raw)) is None
    try:
        fingerprint = ModelIdentity.from_dict(raw).fingerprint
    except (TypeError, ValueError):
        return
    tier = collection(identity=raw, fingerprint=fingerprint)
    assert identity_of(tier) is None or changes == {"pooling": "sum"}


def test_a_refusal_names_both_fingerprints_and_what_differs() -> None:
    error = refusal(collection(), OTHER)
    assert error.message == (
        f"made by the model with fingerprint {OTHER.fingerprint}, but the collection holds vectors "
        f"of {OWN.fingerprint} (weights_sha256 ccccccccccccccc… instead of "
        "aaaaaaaaaaaaaaa…; pooling sum instead of max): encode with the collection's own model"
    )
    assert error.metadata["given"] == OTHER.fingerprint
    assert error.metadata["expected"] == OWN.fingerprint
    assert json.loads(error.metadata["differs"]) == [
        {"field": "weights_sha256", "given": "c" * 64, "expected": "a" * 64},
        {"field": "pooling", "given": "sum", "expected": "max"},
    ]


def test_a_refusal_of_all_that_can_differ_fits_on_the_wire() -> None:
    """The message whole, and the status below the 8 KiB at which gRPC would drop it."""
    given = ModelIdentity(
        "splade-doc", "c" * 64, "d" * 64, 2**31, "sum", 2**30, 2**30, 0.123456789012345,
        "log1p-twice", tuple(range(40_000)), "", "e" * 64,
    )  # fmt: skip
    error = refusal(collection(QUERIES), given)
    differing = [each["field"] for each in json.loads(error.metadata["differs"])]
    assert differing == [field.name for field in fields(ModelIdentity)]
    assert f"; and {len(differing) - 3} more): encode with" in error.message
    assert describe(error).endswith(error.message)
    assert to_status(error).ByteSize() < 4096


def test_a_refusal_says_where_it_cannot_tell() -> None:
    older = refusal(collection(identity=None), OTHER)
    assert "(the collection does not say more about its model)" in older.message
    unknown = refusal(collection(), OTHER, known=False)
    assert "(no model of the former is served here to compare it with)" in unknown.message
    for error in (older, unknown):
        assert OWN.fingerprint in error.message
        assert OTHER.fingerprint in error.message
        assert error.metadata.keys() == {"given", "expected"}


@pytest.mark.parametrize("identity", [OWN, OTHER, QUERIES])
def test_the_message_has_every_field(identity: ModelIdentity) -> None:
    names = {field.name for field in model_pb2.ModelIdentity.DESCRIPTOR.fields}
    assert names == {field.name for field in fields(ModelIdentity)} | {"queries"}
    message = identity_to(identity)
    assert message.queries == identity.queries
    for field in fields(ModelIdentity):
        value = getattr(message, field.name)
        expected = getattr(identity, field.name)
        assert (tuple(value) if isinstance(expected, tuple) else value) == expected
