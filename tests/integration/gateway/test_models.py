"""Several models at once, and models that come and go while others serve; graphs run for real."""

from __future__ import annotations

import asyncio
import gc
import shutil
import time
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.integration.gateway.conftest import Wire, details, serving

from sparsegate.v1 import (
    collection_pb2,
    common_pb2,
    document_pb2,
    encode_pb2,
    model_pb2,
    search_pb2,
)
from sparsegate_server.encoders.base import Mode
from sparsegate_server.inference.onnx import OnnxBackend
from sparsegate_server.models.pull import pull
from sparsegate_server.models.recipe import FamilyChoice
from sparsegate_server.models.repository import Vectors, export
from sparsegate_server.models.spec import ModelSpec

TEXT = "a band on tour"
LOADED = model_pb2.LOAD_OUTCOME_LOADED
REPLACED = model_pb2.LOAD_OUTCOME_REPLACED
UNCHANGED = model_pb2.LOAD_OUTCOME_UNCHANGED


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny`, and `sums`, which adds up what the tokens say."""
    folder = tmp_path_factory.mktemp("two_models")
    pulled = pull("splade-tiny")
    export(pulled, folder, name="tiny")
    export(pulled, folder, name="sums", vectors=Vectors(family=FamilyChoice.SPLADE_SUM))
    return folder


@pytest.fixture
def repository(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "models")


@pytest.fixture
async def tiny(repository: Path) -> AsyncIterator[Wire]:
    """Serves `tiny`; `sums` could be loaded."""
    async with serving(repository, models={"repository": repository, "names": ["tiny"]}) as wire:
        yield wire


async def load(wire: Wire, name: str) -> model_pb2.LoadModelResponse:
    return await wire.models.Load(model_pb2.LoadModelRequest(name=name))


async def unload(wire: Wire, name: str) -> model_pb2.UnloadModelResponse:
    return await wire.models.Unload(model_pb2.UnloadModelRequest(name=name))


async def served(wire: Wire) -> dict[str, bool]:
    reply = await wire.models.List(model_pb2.ListModelsRequest())
    return {model.name: model.ready for model in reply.models}


async def encode(wire: Wire, model: str, *texts: str) -> encode_pb2.EncodeResponse:
    reply = await wire.encode.Encode(
        encode_pb2.EncodeRequest(
            model=model, mode=encode_pb2.ENCODE_MODE_DOCUMENT, texts=texts or (TEXT,)
        )
    )
    assert not any(result.HasField("error") for result in reply.results)
    return reply


def weight(reply: encode_pb2.EncodeResponse) -> float:
    return sum(reply.results[0].encoding.vector.values)


async def fill(wire: Wire, collection: str, model: str) -> document_pb2.UpsertResponse:
    await wire.collections.Create(
        collection_pb2.CreateCollectionRequest(name=collection, model=model)
    )
    return await upsert(wire, collection)


async def upsert(wire: Wire, collection: str) -> document_pb2.UpsertResponse:
    document = common_pb2.Document(id=common_pb2.DocumentId(number=1), text=TEXT)
    return await wire.documents.Upsert(
        document_pb2.UpsertRequest(collection=collection, documents=[document])
    )


async def found(wire: Wire, collection: str) -> float:
    """The score of the one document, for its own text."""
    reply = await wire.search.Search(
        search_pb2.SearchRequest(collection=collection, text=TEXT, limit=1)
    )
    return reply.hits[0].score


async def healthy(wire: Wire) -> bool:
    """As the empty name says, which follows within a second."""
    health = health_pb2_grpc.HealthStub(wire.channel)
    reply = await health.Check(health_pb2.HealthCheckRequest())
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


async def becomes_healthy(wire: Wire, wanted: bool) -> bool:
    for _ in range(100):
        if await healthy(wire) == wanted:
            return True
        await asyncio.sleep(0.05)
    return False


async def refused(call: object) -> tuple[grpc.StatusCode, str, str]:
    """(code, reason, message) of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    code, reason, _ = details(caught.value)
    return code, reason, caught.value.details() or ""


def export_anew(repository: Path, name: str, family: FamilyChoice) -> ModelSpec:
    return export(pull("splade-tiny"), repository, name=name, vectors=Vectors(family=family))


async def test_two_models_serve_side_by_side(repository: Path) -> None:
    models = {"repository": repository, "names": []}
    async with serving(repository, models=models) as wire:
        assert await served(wire) == {"sums": True, "tiny": True}
        tiny, sums = await encode(wire, "tiny"), await encode(wire, "sums")
        assert (tiny.model, sums.model) == ("tiny", "sums")
        assert tiny.fingerprint != sums.fingerprint
        assert weight(sums) > weight(tiny)
        assert (await fill(wire, "films", "tiny")).fingerprint == tiny.fingerprint
        assert (await fill(wire, "books", "sums")).fingerprint == sums.fingerprint
        assert await found(wire, "books") > await found(wire, "films")
        nameless = await refused(wire.encode.Encode(encode_pb2.EncodeRequest(texts=[TEXT], mode=1)))
        assert nameless[1] == "MODEL_NOT_FOUND"
        assert "served here are sums, tiny" in nameless[2]
        labels = {
            sample.labels["model"]
            for family in wire.gateway.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "sparsegate_texts_total"
        }
        assert labels == {"tiny", "sums"}


async def test_a_model_is_loaded_and_unloaded(tiny: Wire) -> None:
    code, reason, message = await refused(encode(tiny, "sums"))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    assert "served here are tiny; `sparsegate models load sums`" in message
    reply = await load(tiny, "sums")
    assert reply.outcome == LOADED
    assert reply.model.name == "sums"
    assert reply.model.ready
    assert (await encode(tiny, "sums")).fingerprint == reply.model.fingerprint
    assert await served(tiny) == {"sums": True, "tiny": True}
    await fill(tiny, "books", "sums")
    score = await found(tiny, "books")

    gone = await unload(tiny, "sums")
    assert (list(gone.collections), gone.collection_count) == (["books"], 1)
    assert await served(tiny) == {"tiny": True}
    assert (await refused(found(tiny, "books")))[:2] == (code, reason)
    vector = (await encode(tiny, "tiny")).results[0].encoding.vector
    vector.fingerprint = ""
    by_vector = search_pb2.SearchRequest(
        collection="books", vector=vector, limit=1, with_query=True
    )
    hits = await tiny.search.Search(by_vector)
    assert len(hits.hits) == 1
    assert set(hits.query.terms) == {""}
    again = await refused(unload(tiny, "sums"))
    assert again[:2] == (code, reason)

    assert (await load(tiny, "sums")).outcome == LOADED
    assert await found(tiny, "books") == score


async def test_nothing_is_left_of_a_model_that_is_unloaded(tiny: Wire) -> None:
    await load(tiny, "sums")
    await encode(tiny, "sums")
    encoder = tiny.gateway._models.get("sums")
    await encoder.encode([TEXT], Mode.QUERY)
    left = [
        weakref.ref(encoder._encoder),
        weakref.ref(tiny.gateway._inference._graphs.copy().popitem()[1]),
    ]
    del encoder
    await unload(tiny, "sums")
    gc.collect()
    assert [each() for each in left] == [None, None]


async def test_queries_of_their_own_come_and_go_with_a_model(tiny: Wire, repository: Path) -> None:
    pulled = pull("splade-tiny")
    export(pulled, repository, name="twin", vectors=Vectors(queries=pulled))
    export(pulled, repository, name="doc", vectors=Vectors(family=FamilyChoice.SPLADE_DOC))
    graphs = tiny.gateway._inference._graphs
    assert (await load(tiny, "twin")).model.identity.queries == "graph"
    assert {name for name, *_ in graphs} == {"tiny", "twin", "twin.query"}
    assert (await load(tiny, "doc")).model.identity.queries == "tokens"
    await fill(tiny, "films", "twin")
    await fill(tiny, "books", "doc")
    assert await found(tiny, "films") > await found(tiny, "books") > 0
    await unload(tiny, "twin")
    await unload(tiny, "doc")
    assert {name for name, *_ in graphs} == {"tiny"}
    code, reason, _ = await refused(load(tiny, "twin.query"))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_SOURCE")


async def test_what_is_served_and_unchanged_is_left_alone(tiny: Wire) -> None:
    before = tiny.gateway._models.find("tiny")
    assert (await load(tiny, "tiny")).outcome == UNCHANGED
    assert tiny.gateway._models.find("tiny") is before


async def test_two_loads_at_once_are_one(tiny: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    read = OnnxBackend._read
    monkeypatch.setattr(
        OnnxBackend, "_read", lambda self, spec: loads.append(spec.name) or read(self, spec)
    )
    replies = await asyncio.gather(*(load(tiny, "sums") for _ in range(4)))
    assert loads == ["sums"]
    assert sorted(reply.outcome for reply in replies) == [LOADED] + 3 * [UNCHANGED]


async def test_a_new_export_takes_the_place_of_the_old_one(tiny: Wire, repository: Path) -> None:
    await fill(tiny, "films", "tiny")
    old = (await encode(tiny, "tiny")).fingerprint
    await asyncio.to_thread(export_anew, repository, "tiny", FamilyChoice.SPLADE_SUM)
    # Until it is loaded, nothing is different.
    assert (await encode(tiny, "tiny")).fingerprint == old

    seen: set[tuple[str, float]] = set()
    hammering = [asyncio.create_task(hammer(tiny, seen)) for _ in range(4)]
    await asyncio.sleep(0.2)
    reply = await load(tiny, "tiny")
    await asyncio.sleep(0.2)
    for task in hammering:
        task.cancel()
    assert await asyncio.gather(*hammering, return_exceptions=True) == 4 * [None]
    assert reply.outcome == REPLACED
    assert (list(reply.collections), reply.collection_count) == (["films"], 1)
    # No vector bears the fingerprint of the other model.
    assert len(seen) == 2
    assert {fingerprint for fingerprint, _ in seen} == {old, reply.model.fingerprint}
    assert len(tiny.gateway._inference._graphs) == 1
    code, reason, message = await refused(found(tiny, "films"))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FINGERPRINT_MISMATCH")
    assert "pooling" in message


async def hammer(wire: Wire, seen: set[tuple[str, float]]) -> None:
    """Encodes as fast as it can until it is cancelled; any error ends it otherwise. Notes by which
    models, and what the first text weighed."""
    try:
        while True:
            reply = await encode(wire, "tiny", TEXT, f"{TEXT} {time.monotonic()}")
            seen.add((reply.fingerprint, round(weight(reply), 2)))
    except asyncio.CancelledError:
        return


async def test_the_same_export_again_is_read_again(tiny: Wire, repository: Path) -> None:
    await fill(tiny, "films", "tiny")
    score = await found(tiny, "films")
    await asyncio.to_thread(export_anew, repository, "tiny", FamilyChoice.SPLADE_MAX)
    reply = await load(tiny, "tiny")
    assert (reply.outcome, reply.collection_count) == (REPLACED, 0)
    assert len(tiny.gateway._inference._graphs) == 1
    assert await found(tiny, "films") == score
    assert (await load(tiny, "tiny")).outcome == UNCHANGED


async def test_what_runs_when_a_model_is_unloaded_ends_well(tiny: Wire) -> None:
    texts = [f"{TEXT} {number} " * 40 for number in range(8)]
    running = [asyncio.create_task(encode(tiny, "tiny", *texts)) for _ in range(4)]
    encoder = tiny.gateway._models.find("tiny")
    assert encoder is not None
    for _ in range(1000):
        if encoder._running == len(running):
            break
        await asyncio.sleep(0.001)
    assert encoder._running == len(running)
    await unload(tiny, "tiny")
    assert tiny.gateway._inference._graphs == {}
    for task in running:
        assert len((await task).results) == len(texts)
    assert await becomes_healthy(tiny, False)
    code, _, message = await refused(encode(tiny, "tiny"))
    assert code == grpc.StatusCode.NOT_FOUND
    assert "served here are none" in message
    assert (await load(tiny, "sums")).outcome == LOADED
    assert await becomes_healthy(tiny, True)


async def test_who_no_longer_waits_has_it_loaded_all_the_same(tiny: Wire) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await tiny.models.Load(model_pb2.LoadModelRequest(name="sums"), timeout=0.005)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await load(tiny, "sums")).outcome in {LOADED, UNCHANGED}
    assert (await load(tiny, "sums")).outcome == UNCHANGED


@pytest.mark.parametrize(
    ("name", "code", "reason", "remedy"),
    [
        ("nothing", "NOT_FOUND", "MODEL_NOT_FOUND", "sparsegate-server model list"),
        ("../tiny", "INVALID_ARGUMENT", "INVALID_REQUEST", "name"),
        ("", "INVALID_ARGUMENT", "INVALID_REQUEST", "name"),
        ("bare", "FAILED_PRECONDITION", "MODEL_SOURCE", "export"),
        ("broken", "FAILED_PRECONDITION", "MODEL_SOURCE", "cannot be loaded"),
        ("unverified", "FAILED_PRECONDITION", "MODEL_SOURCE", "model verify unverified"),
    ],
)
async def test_what_cannot_be_loaded_says_why(
    tiny: Wire, repository: Path, name: str, code: str, reason: str, remedy: str
) -> None:
    spoil(repository)
    before = await served(tiny)
    given, told, message = await refused(load(tiny, name))
    assert (given.name, told) == (code, reason)
    assert remedy in message
    assert await served(tiny) == before
    assert (await encode(tiny, "tiny")).results


def spoil(repository: Path) -> None:
    """Folders of models that cannot be served, each for a reason of its own."""
    for name in ("bare", "broken", "unverified"):
        shutil.copytree(repository / "sums", repository / name)
        file = repository / name / "sparsegate.json"
        file.write_text(file.read_text().replace('"sums"', f'"{name}"'))
    (repository / "bare" / "1" / "model.onnx").unlink()
    (repository / "broken" / "1" / "model.onnx").write_bytes(b"no graph")
    file = repository / "unverified" / "sparsegate.json"
    file.write_text(file.read_text().replace('"fp32"', '"int8"'))


async def test_a_broken_export_leaves_the_old_model_in_place(tiny: Wire, repository: Path) -> None:
    before = await encode(tiny, "tiny")
    (repository / "tiny" / "1" / "model.onnx").write_bytes(b"no graph")
    _, reason, _ = await refused(load(tiny, "tiny"))
    assert reason == "MODEL_SOURCE"
    assert (await encode(tiny, "tiny")).results == before.results


async def test_others_are_served_while_models_come_and_go(tiny: Wire) -> None:
    answered: list[str] = []
    seen: set[tuple[str, float]] = set()
    hammering = [asyncio.create_task(answers(tiny, answered)) for _ in range(2)]
    hammering.append(asyncio.create_task(hammer(tiny, seen)))
    for turn in range(100):
        if turn >= 5 and len(answered) > 20:
            break
        await load(tiny, "sums")
        await encode(tiny, "sums")
        await unload(tiny, "sums")
    for task in hammering:
        task.cancel()
    assert await asyncio.gather(*hammering, return_exceptions=True) == 3 * [None]
    assert len(answered) > 20


async def answers(wire: Wire, answered: list[str]) -> None:
    """Encodes until it is cancelled; any error ends it otherwise. Notes by which models."""
    try:
        while True:
            answered.append((await encode(wire, "tiny")).model)
    except asyncio.CancelledError:
        return
