"""What a model is, in its collections and in replies, and refusals of what another model made."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status
from tests.integration.gateway.conftest import Wire, details, serving
from tests.integration.gateway.test_collections import (
    describe,
    download,
    in_pieces,
    restore,
    snapshot,
)

from sparsegate.v1 import (
    collection_pb2,
    common_pb2,
    document_pb2,
    encode_pb2,
    model_pb2,
    search_pb2,
)
from sparsegate_server.models.repository import record
from sparsegate_server.models.spec import SPEC_FILE, ModelIdentity, ModelSpec
from sparsegate_server.models.verification import Verification

TEXT = "a band on tour"
RAN = model_pb2.ModelExecution(precision="fp32", backend="dummy")


@pytest.fixture
def spec(model_repository: Path) -> ModelSpec:
    return ModelSpec.load(model_repository / "splade-tiny")


@pytest.fixture
def repository(model_repository: Path, tmp_path: Path, spec: ModelSpec) -> Path:
    """`films`, and `other`, which differs in the length of its texts and vectors."""
    folder = tmp_path / "models"
    films = replace(spec, name="films", positions=True)
    describe_model(folder, films, model_repository)
    other = replace(films, name="other", identity=shorter(spec))
    describe_model(folder, other, model_repository)
    return folder


def describe_model(folder: Path, spec: ModelSpec, source: Path) -> None:
    """Describes a model otherwise; its graph, which the gateway does not run, stays."""
    own = shutil.copytree(source / "splade-tiny", folder / spec.name, dirs_exist_ok=True)
    (own / SPEC_FILE).write_text(spec.to_json())


def shorter(spec: ModelSpec) -> ModelIdentity:
    return replace(spec.identity, max_length=128, max_terms=64)


def gateway(repository: Path) -> AbstractAsyncContextManager[Wire]:
    models = {"repository": repository, "names": ["films", "other"]}
    return serving(repository, models=models, inference={"backend": "dummy"})


@pytest.fixture
async def films(repository: Path) -> AsyncIterator[Wire]:
    async with gateway(repository) as wire:
        await create(wire)
        yield wire


async def create(wire: Wire, name: str = "films", model: str = "films") -> None:
    await wire.collections.Create(
        collection_pb2.CreateCollectionRequest(name=name, model=model, shards=1)
    )


async def fingerprint_of(wire: Wire, name: str) -> str:
    got = await wire.models.Get(model_pb2.GetModelRequest(name=name))
    return got.model.fingerprint


async def encoded(wire: Wire, model: str) -> common_pb2.SparseVector:
    reply = await wire.encode.Encode(
        encode_pb2.EncodeRequest(model=model, mode=encode_pb2.ENCODE_MODE_DOCUMENT, texts=[TEXT])
    )
    return reply.results[0].encoding.vector


def document(**parts: Any) -> common_pb2.Document:
    return common_pb2.Document(id=common_pb2.DocumentId(number=1), **parts)


async def upsert(wire: Wire, *documents: common_pb2.Document) -> document_pb2.UpsertResponse:
    return await wire.documents.Upsert(
        document_pb2.UpsertRequest(collection="films", documents=documents)
    )


def facts(status: Status) -> dict[str, str]:
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return dict(info.metadata)


def facts_of(error: grpc.aio.AioRpcError) -> dict[str, str]:
    metadata = dict(error.trailing_metadata() or ())
    return facts(Status.FromString(metadata["grpc-status-details-bin"]))


async def test_models_and_collections_tell_their_identity(films: Wire, spec: ModelSpec) -> None:
    model = (await films.models.Get(model_pb2.GetModelRequest(name="films"))).model
    identity = model.identity
    assert identity.weights_sha256 == spec.identity.weights_sha256
    assert (identity.queries, identity.pooling) == ("documents", "max")
    assert (identity.max_length, identity.max_terms) == (
        spec.identity.max_length,
        spec.identity.max_terms,
    )
    assert model.positions
    assert (model.triton_backend, model.device) == ("python", "cpu")
    collection = await describe(films)
    assert collection.identity == identity
    assert collection.execution == RAN


async def test_replies_tell_which_model_ran_and_how(films: Wire) -> None:
    expected = await fingerprint_of(films, "films")
    done = await upsert(films, document(text=TEXT))
    assert (done.fingerprint, done.execution) == (expected, RAN)
    asked = search_pb2.SearchRequest(collection="films", text=TEXT, limit=1)
    found = await films.search.Search(asked)
    assert (found.fingerprint, found.execution) == (expected, RAN)
    batch = await films.search.SearchBatch(search_pb2.SearchBatchRequest(searches=[asked]))
    assert batch.results[0].response.execution == RAN
    why = await films.search.Explain(
        search_pb2.ExplainRequest(collection="films", text=TEXT, id=common_pb2.DocumentId(number=1))
    )
    assert (why.fingerprint, why.execution) == (expected, RAN)
    got = await films.encode.Encode(
        encode_pb2.EncodeRequest(model="films", mode=encode_pb2.ENCODE_MODE_QUERY, texts=[TEXT])
    )
    assert (got.fingerprint, got.execution) == (expected, RAN)


async def test_nothing_ran_for_vectors_of_the_caller_s_own(films: Wire) -> None:
    vector = await encoded(films, "films")
    done = await upsert(films, document(vector=vector))
    assert done.applied == 1
    assert done.fingerprint == vector.fingerprint
    assert not done.HasField("execution")
    found = await films.search.Search(
        search_pb2.SearchRequest(collection="films", vector=vector, limit=1)
    )
    assert len(found.hits) == 1
    assert not found.HasField("execution")


async def test_a_vector_of_another_served_model_is_told_what_differs(films: Wire) -> None:
    vector = await encoded(films, "other")
    expected, given = await fingerprint_of(films, "films"), await fingerprint_of(films, "other")
    reply = await upsert(films, document(vector=vector))
    status = reply.results[0].error
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await films.search.Search(
            search_pb2.SearchRequest(collection="films", vector=vector, limit=1)
        )
    assert details(caught.value) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "FINGERPRINT_MISMATCH",
        ["vector.fingerprint"],
    )
    for message, metadata in (
        (status.message, facts(status)),
        (caught.value.details() or "", facts_of(caught.value)),
    ):
        assert expected in message
        assert given in message
        assert "max_length 128 instead of 512; max_terms 64 instead of 1024" in message
        assert message.endswith("encode with the collection's own model")
        assert (metadata["given"], metadata["expected"]) == (given, expected)
        assert json.loads(metadata["differs"]) == [
            {"field": "max_length", "given": 128, "expected": 512},
            {"field": "max_terms", "given": 64, "expected": 1024},
        ]
    assert (await describe(films)).documents == 0


async def test_a_model_that_changed_under_its_name_is_refused(
    repository: Path, model_repository: Path, spec: ModelSpec
) -> None:
    async with gateway(repository) as wire:
        await create(wire)
        await upsert(wire, document(text=TEXT))
    changed = replace(spec, name="films", identity=shorter(spec))
    describe_model(repository, changed, model_repository)
    async with gateway(repository) as wire:
        for call in (
            upsert(wire, document(text=TEXT)),
            wire.search.Search(search_pb2.SearchRequest(collection="films", text=TEXT, limit=1)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert details(caught.value)[1:] == ("FINGERPRINT_MISMATCH", ["collection"])
            told = caught.value.details() or ""
            assert spec.fingerprint in told
            assert changed.fingerprint in told
            assert "max_length 128 instead of 512" in told
            assert told.endswith("serve the model that made them, or fill a new collection")
        # The collection is still told of, with the identity that it was made with.
        assert (await describe(wire)).identity.max_length == 512


async def test_precision_and_device_are_no_part_of_it(
    repository: Path, model_repository: Path, spec: ModelSpec
) -> None:
    async with gateway(repository) as wire:
        await create(wire)
    verified = Verification("here", "fp32", "some", "", 1, 1, 0.0, 1.0, 1.0, 1.0)
    changed = replace(spec, name="films", precision="int8", device="gpu")
    describe_model(repository, changed, model_repository)
    record(repository, changed, verified)
    async with gateway(repository) as wire:
        done = await upsert(wire, document(text=TEXT))
        assert done.applied == 1
        assert done.execution.precision == "int8"
        assert (await describe(wire)).execution.precision == "fp32"


async def test_an_older_collection_is_served_and_says_no_more(
    repository: Path, data_folder: Path
) -> None:
    async with gateway(repository) as wire:
        await create(wire)
        await upsert(wire, document(text=TEXT))
    forget_identity(data_folder / "collections" / "films")
    async with gateway(repository) as wire:
        collection = await describe(wire)
        assert not collection.HasField("identity")
        assert not collection.HasField("execution")
        found = await wire.search.Search(
            search_pb2.SearchRequest(collection="films", text=TEXT, limit=1)
        )
        assert len(found.hits) == 1
        reply = await upsert(wire, document(vector=await encoded(wire, "other")))
        status = reply.results[0].error
        assert collection.fingerprint in status.message
        assert await fingerprint_of(wire, "other") in status.message
        assert "the collection does not say more about its model" in status.message
        assert facts(status).keys() == {"given", "expected"}
        # Neither does its snapshot.
        taken = await snapshot(wire)
        restored = await restore(wire, "again", kept=("films", taken.name))
        assert restored.fingerprint == collection.fingerprint
        assert not restored.HasField("identity")


def forget_identity(folder: Path) -> None:
    """Leaves the collection as versions before identities were kept would have."""
    (path,) = folder.glob("*.db")
    with closing(sqlite3.connect(path)) as store, store:
        (text,) = store.execute("SELECT value FROM state WHERE name = 'config'").fetchone()
        config = json.loads(text)
        for later in ("identity", "precision", "inference"):
            del config[later]
        store.execute("UPDATE state SET value = ? WHERE name = 'config'", (json.dumps(config),))


async def test_identities_go_with_snapshots_and_aliases(films: Wire) -> None:
    await upsert(films, document(text=TEXT))
    expected = await describe(films)
    taken = await snapshot(films)
    archive = await download(films, taken.name)
    kept = await restore(films, "kept", kept=("films", taken.name))
    sent = await restore(films, "sent", *in_pieces(archive))
    alias = collection_pb2.AliasChange(alias="now", collection="sent")
    await films.collections.UpdateAliases(collection_pb2.UpdateAliasesRequest(changes=[alias]))
    listed = await films.collections.List(collection_pb2.ListCollectionsRequest())
    assert len(listed.collections) == 3
    for each in (kept, sent, await describe(films, "now"), *listed.collections):
        assert each.identity == expected.identity
        assert each.execution == expected.execution
