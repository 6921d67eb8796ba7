"""A collection with a ladder: what fills it, who answers, and what replies tell of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from sparsegate.v1 import (
    collection_pb2,
    common_pb2,
    document_pb2,
    effort_pb2,
    encode_pb2,
    model_pb2,
    search_pb2,
)
from sparsegate_server.models.pull import pull
from sparsegate_server.models.recipe import FamilyChoice
from sparsegate_server.models.repository import Vectors, export

from .conftest import Wire, details, read, serving

TEXTS = ["a rock band on tour", "a cheese from Gouda", "mouse traps and cheese"]
QUERY = "tasty cheese"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny`; `free`, whose queries need no graph; and `twin`, which is `tiny` again."""
    folder = tmp_path_factory.mktemp("rungs")
    pulled = pull("splade-tiny")
    export(pulled, folder, name="tiny")
    export(pulled, folder, name="twin")
    export(pulled, folder, name="free", vectors=Vectors(family=FamilyChoice.SPLADE_DOC))
    return folder


@pytest.fixture
async def wire(repository: Path) -> AsyncIterator[Wire]:
    models = {"repository": repository, "names": ["tiny", "free", "twin"]}
    async with serving(repository, models=models) as wire:
        yield wire


async def create(wire: Wire, name: str, model: str, *ladder: str) -> collection_pb2.Collection:
    reply = await wire.collections.Create(
        collection_pb2.CreateCollectionRequest(name=name, model=model, ladder=ladder)
    )
    return reply.collection


def document(number: int, text: str | None = None, **fields: Any) -> common_pb2.Document:
    id = common_pb2.DocumentId(number=number)
    return common_pb2.Document(id=id, text=text, **fields)


async def upsert(
    wire: Wire, name: str, *documents: common_pb2.Document
) -> document_pb2.UpsertResponse:
    return await wire.documents.Upsert(
        document_pb2.UpsertRequest(collection=name, documents=documents)
    )


async def filled(wire: Wire) -> None:
    """`films`, of `tiny` and then `free`; and a collection of each of the two alone."""
    await create(wire, "films", "tiny", "free")
    await create(wire, "tiny", "tiny")
    await create(wire, "free", "free")
    for name in ("films", "tiny", "free"):
        documents = [document(at, text) for at, text in enumerate(TEXTS)]
        assert (await upsert(wire, name, *documents)).applied == len(TEXTS)


async def search(wire: Wire, name: str, **fields: Any) -> search_pb2.SearchResponse:
    if "vector" not in fields:
        fields.setdefault("text", QUERY)
    return await wire.search.Search(search_pb2.SearchRequest(collection=name, limit=10, **fields))


async def vector_of(wire: Wire, model: str) -> common_pb2.SparseVector:
    reply = await wire.encode.Encode(
        encode_pb2.EncodeRequest(model=model, mode=encode_pb2.ENCODE_MODE_QUERY, texts=[QUERY])
    )
    return reply.results[0].encoding.vector


async def unload(wire: Wire, name: str) -> model_pb2.UnloadModelResponse:
    return await wire.models.Unload(model_pb2.UnloadModelRequest(name=name))


def ranking(reply: search_pb2.SearchResponse) -> list[tuple[int, float]]:
    assert reply.hits
    return [(hit.id.number, hit.score) for hit in reply.hits]


async def test_a_collection_tells_its_ladder(wire: Wire) -> None:
    made = await create(wire, "films", "tiny", "free")
    served = {model.name: model for model in (await wire.models.List(
        model_pb2.ListModelsRequest())).models}  # fmt: skip
    (tier,) = made.ladder
    assert (tier.model, tier.fingerprint) == ("free", served["free"].fingerprint)
    assert (made.model, made.fingerprint) == ("tiny", served["tiny"].fingerprint)
    assert tier.identity == served["free"].identity
    assert tier.vocabulary_size == served["free"].vocabulary_size
    assert not made.model_problem
    assert (tier.execution.precision, tier.execution.backend) == ("fp32", "onnx")


async def test_the_own_model_answers_while_it_can(wire: Wire) -> None:
    await filled(wire)
    found, alone = await search(wire, "films"), await search(wire, "tiny")
    assert ranking(found) == ranking(alone)
    assert found.fingerprint == alone.fingerprint
    assert (found.tier.number, found.tier.model) == (0, "tiny")
    assert not found.tier.passed_over
    assert not alone.HasField("tier")


async def test_the_next_model_answers_where_the_own_is_away(wire: Wire) -> None:
    await filled(wire)
    alone = await search(wire, "free", with_query=True, with_vector=True)
    assert "films" in (await unload(wire, "tiny")).collections
    described = await wire.collections.Get(collection_pb2.GetCollectionRequest(name="films"))
    assert "sparsegate models load tiny" in described.collection.model_problem
    found = await search(wire, "films", with_query=True, with_vector=True)
    assert ranking(found) == ranking(alone)
    assert (found.query, found.fingerprint) == (alone.query, alone.fingerprint)
    assert [hit.vector for hit in found.hits] == [hit.vector for hit in alone.hits]
    assert (found.tier.number, found.tier.model) == (1, "free")
    (passed,) = found.tier.passed_over
    assert passed.model == "tiny"
    assert read(passed.reason)[1] == "MODEL_NOT_FOUND"
    assert "sparsegate models load tiny" in passed.reason.message
    # The batch and the explanation fall back alike.
    requests = [search_pb2.SearchRequest(collection=name, text=QUERY, limit=10)
                for name in ("films", "tiny", "free")]  # fmt: skip
    batch = await wire.search.SearchBatch(search_pb2.SearchBatchRequest(searches=requests))
    assert ranking(batch.results[0].response) == ranking(alone)
    assert read(batch.results[1].error)[1] == "MODEL_NOT_FOUND"
    best = found.hits[0]
    told = await wire.search.Explain(
        search_pb2.ExplainRequest(collection="films", text=QUERY, id=best.id)
    )
    assert (told.score, told.rank, told.returned) == (best.score, 1, True)
    assert (told.tier.number, told.fingerprint) == (1, found.fingerprint)
    assert all(term.term for term in told.terms)
    text = wire.gateway.metrics.registry.get_sample_value(
        "sparsegate_fallback_searches_total", {"collection": "films", "model": "free"}
    )
    assert text == 2
    # And it is back as soon as its model is.
    await wire.models.Load(model_pb2.LoadModelRequest(name="tiny"))
    assert (await search(wire, "films")).tier.number == 0


async def test_writes_need_every_model(wire: Wire) -> None:
    await filled(wire)
    await unload(wire, "free")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await upsert(wire, "films", document(9, "an opera"))
    assert details(caught.value)[1] == "MODEL_NOT_FOUND"
    got = await wire.documents.Get(
        document_pb2.GetDocumentsRequest(collection="films", ids=[common_pb2.DocumentId(number=9)])
    )
    assert got.missing


async def test_a_refused_document_is_in_no_tier_and_the_others_are_in_all(wire: Wire) -> None:
    await filled(wire)
    reply = await upsert(
        wire, "films", document(7, "more cheese"), document(8, " "), document(9, "no cheese")
    )
    assert [each.HasField("error") for each in reply.results] == [False, True, False]
    assert read(reply.results[1].error)[1:] == ("BLANK_TEXT", ["documents[1].text"])
    assert reply.applied == 2
    for tier in (0, 1):
        found = dict(ranking(await search(wire, "films", tier=tier)))
        assert found.keys() & {7, 8, 9} == {7, 9}


async def test_where_no_model_can_the_own_one_s_reason_is_told(wire: Wire) -> None:
    await filled(wire)
    for name in ("free", "tiny"):
        await unload(wire, name)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await upsert(wire, "films", document(9, "an opera"))
    assert details(caught.value)[1] == "MODEL_NOT_FOUND"
    assert "'tiny'" in (caught.value.details() or "")


async def test_a_vector_of_one_s_own_comes_with_the_text(wire: Wire) -> None:
    await filled(wire)
    own = common_pb2.SparseVector(indices=[5000], values=[2.0])
    refused = await upsert(wire, "films", document(7, vector=own))
    _, reason, fields = read(refused.results[0].error)
    assert (reason, fields) == ("INVALID_DOCUMENT", ["documents[0].text"])
    assert "'free'" in refused.results[0].error.message
    assert (await upsert(wire, "films", document(7, "tasty cheese", vector=own))).applied == 1
    # The own tier has the vector as it came, the other one what its model makes of the text.
    assert ranking(await search(wire, "films", vector=own)) == [(7, 4.0)]
    assert 7 in dict(ranking(await search(wire, "films", tier=1)))


async def test_a_tier_may_be_chosen(wire: Wire) -> None:
    await filled(wire)
    expected = ranking(await search(wire, "free"))
    chosen = await search(wire, "films", tier=1)
    assert ranking(chosen) == expected
    assert (chosen.tier.number, len(chosen.tier.passed_over)) == (1, 0)
    # A vector goes where its fingerprint leads, and nowhere else.
    vector = await vector_of(wire, "free")
    assert ranking(await search(wire, "films", vector=vector)) == expected
    for wrong in ({"tier": 0, "vector": vector}, {"vector": vector, "name": "tiny"}):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await search(wire, str(wrong.pop("name", "films")), **wrong)
        assert details(caught.value)[1] == "FINGERPRINT_MISMATCH"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await search(wire, "films", tier=2)
    assert details(caught.value)[1:] == ("INVALID_REQUEST", ["tier"])
    # Whoever asks for one tier is not given another.
    await unload(wire, "tiny")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await search(wire, "films", tier=0)
    assert details(caught.value)[1] == "MODEL_NOT_FOUND"


async def test_where_no_tier_can_the_first_one_s_reason_is_told(wire: Wire) -> None:
    await filled(wire)
    await unload(wire, "tiny")
    await unload(wire, "free")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await search(wire, "films")
    assert "'tiny'" in (caught.value.details() or "")
    # Vectors are searched all the same.
    own = common_pb2.SparseVector(indices=[1996], values=[2.0])
    assert (await search(wire, "films", vector=own)).tier.number == 0


async def test_a_bad_text_is_nobody_else_s_to_answer(wire: Wire) -> None:
    await filled(wire)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await search(wire, "films", text="  ")
    assert details(caught.value)[1:] == ("BLANK_TEXT", ["text"])


async def test_a_target_recall_is_exact_in_another_tier(wire: Wire) -> None:
    await create(wire, "films", "tiny", "free")
    texts = [f"{text} {at}" for at in range(5) for text in TEXTS]
    await upsert(wire, "films", *(document(at, text) for at, text in enumerate(texts)))
    await wire.search.CalibrateEffort(
        effort_pb2.CalibrateEffortRequest(
            collection="films",
            queries=[effort_pb2.CalibrationQuery(text=text) for text in texts],
        )
    )
    await unload(wire, "tiny")
    effort = effort_pb2.Effort(target_recall=0.9)
    found = await search(wire, "films", effort=effort)
    assert (found.tier.number, found.effort, found.approximate) == (1, 1.0, False)


@pytest.mark.parametrize(
    ("ladder", "reason", "field"),
    [
        (["gone"], "MODEL_NOT_FOUND", "ladder[0]"),
        (["free", "twin"], "INVALID_REQUEST", "ladder[1]"),
        (["tiny"], "INVALID_REQUEST", "ladder[0]"),
        (["free"] * 4, "INVALID_REQUEST", "ladder"),
        ([""], "INVALID_REQUEST", "ladder[0]"),
    ],
)
async def test_bad_ladders_are_refused(
    wire: Wire, ladder: list[str], reason: str, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(wire, "films", "tiny", *ladder)
    assert details(caught.value)[1:] == (reason, [field])
    assert not (await wire.collections.List(collection_pb2.ListCollectionsRequest())).collections
