"""Both clients against a real gateway."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.golden import FILMS

import sparsegate
from sparsegate import Bar, Document, Filter, Search, SparseVector
from sparsegate.filters import Match, Range
from sparsegate_server.launch import GatewayProcess

QUESTION = "A movie about music"


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[sparsegate.Client]:
    with sparsegate.Client(address) as client:
        client.wait_ready()
        client.create_collection("films", shards=2)
        films = [
            Document(film["id"], film["movie_description"], payload={"name": film["movie_name"]})
            for film in FILMS
        ]
        result = client.upsert("films", films).raise_for_errors()
        assert (result.applied, client.count("films")) == (20, 20)
        yield client


def test_a_question_and_its_vector_find_the_same(client: sparsegate.Client) -> None:
    by_text = client.search("films", QUESTION, with_payload=True, with_query=True)
    assert by_text.hits[0].payload == {"name": "This Is Spinal Tap"}
    encoded = client.encode([QUESTION], mode="query", with_terms=True).unwrap()[0]
    assert by_text.query == sparsegate.EncodedQuery(encoded.vector, encoded.terms)
    by_vector = client.search("films", encoded.vector, with_payload=True)
    assert by_vector.hits == by_text.hits
    assert encoded.vector.fingerprint == by_text.fingerprint


def test_an_explanation_has_the_score_of_the_search(client: sparsegate.Client) -> None:
    hit = client.search("films", QUESTION, limit=1).hits[0]
    explanation = client.explain("films", QUESTION, hit.id)
    assert explanation.score == hit.score
    assert sum(term.contribution for term in explanation.terms) == pytest.approx(hit.score)


def test_a_batch_has_a_result_for_each_item(client: sparsegate.Client) -> None:
    searches = [Search("films", QUESTION), Search("nowhere", "x"), Search("films", " ")]
    result = client.search_batch(searches)
    assert isinstance(result.items[0], sparsegate.SearchResult)
    assert isinstance(result.items[1], sparsegate.NotFound)
    assert isinstance(result.items[2], sparsegate.InvalidArgument)
    assert result.items[2].reason == "BLANK_TEXT"
    with pytest.raises(sparsegate.NotFound):
        result.unwrap()


def test_errors_carry_their_details(client: sparsegate.Client) -> None:
    with pytest.raises(sparsegate.NotFound) as missing:
        client.count("nowhere", request_id="r1")
    assert missing.value.reason == "COLLECTION_NOT_FOUND"
    assert missing.value.request_id == "r1"
    with pytest.raises(sparsegate.AlreadyExists):
        client.create_collection("films")
    with pytest.raises(sparsegate.InvalidArgument) as illegal:
        client.create_collection("-", shards=1000)
    assert {violation.field for violation in illegal.value.violations} == {"name", "shards"}
    with pytest.raises(sparsegate.FailedPrecondition) as foreign:
        client.search("films", SparseVector([1], [1.0], "of another model"))
    assert foreign.value.reason == "FINGERPRINT_MISMATCH"


def test_payloads_and_ids_come_back_exactly(client: sparsegate.Client) -> None:
    documents = [
        Document(2**64 - 1, payload={"n": -(2**63), "deep": [{"x": None}, [], 1.0, True]}),
        Document("é" * 128, payload={"n": 2**63 - 1}),
        Document("1"),
        Document(1),
    ]
    own = SparseVector((5, 9), (0.5, 2.0))
    sent = [Document(d.id, d.text, own, d.payload) for d in documents]
    client.create_collection("exact")
    client.upsert("exact", sent).raise_for_errors()
    got = client.get("exact", [d.id for d in sent] + [99])
    assert [(d.id, d.payload) for d in got.documents] == [(d.id, d.payload) for d in sent]
    assert got.missing == (99,)
    ids = [document.id for document in client.scroll_all("exact", page_size=1)]
    assert ids == [1, 2**64 - 1, "1", "é" * 128]
    back = client.get("exact", ["1"], with_vector=True).documents[0].vector
    assert back is not None
    assert (back.indices, back.values) == (own.indices, own.values)
    assert client.delete("exact", [1, 99]).deleted == 1
    client.delete_collection("exact")
    assert "exact" not in {collection.name for collection in client.list_collections()}


async def test_an_upload_of_many_batches(address: str) -> None:
    async with sparsegate.aio.Client(address) as client:
        await client.create_collection("many", shards=4)
        source = (
            Document(number, None if number == 777 else f"film number {number}")
            for number in range(1000)
        )
        summary = await client.upload("many", source, batch_size=64)
        assert (summary.acknowledged, summary.applied, summary.batches) == (1000, 999, 16)
        assert list(summary.errors) == [777]
        assert summary.errors[777].field.startswith("documents[777]")
        assert await client.count("many") == 999
        found = await client.search("many", "film number 5")
        assert found.sequence == summary.sequence
        with pytest.raises(sparsegate.UploadInterrupted) as broken:
            await client.upload("nowhere", [Document(1, "x")])
        assert isinstance(broken.value.__cause__, sparsegate.NotFound)


def test_models_and_tokens(client: sparsegate.Client) -> None:
    model = client.get_model("splade-tiny")
    assert client.list_models() == [model]
    assert model.ready
    tokens = client.tokenize(["rock music"], model="splade-tiny").texts[0].tokens
    assert [(token.text, token.start, token.end) for token in tokens[1:3]] == [
        ("rock", 0, 4),
        ("music", 5, 10),
    ]


def test_filters_narrow_every_call(client: sparsegate.Client) -> None:
    tap = Filter(must=[Match("name", "This Is Spinal Tap")])
    found = client.search("films", QUESTION, filter=tap, payload_include=["name"])
    assert [hit.payload for hit in found.hits] == [{"name": "This Is Spinal Tap"}]
    assert found.unindexed == ("name",)
    assert client.count("films", filter=tap) == 1
    page = client.scroll("films", filter=tap, with_text=False)
    assert [(document.id, document.text) for document in page.documents] == [
        (found.hits[0].id, None)
    ]
    with pytest.raises(sparsegate.InvalidArgument) as caught:
        client.count("films", filter=Range("a..b", gte=1))
    assert caught.value.field == "filter.must[0].range.field"


def test_an_explanation_names_the_terms_that_are_missing(client: sparsegate.Client) -> None:
    ranking = client.search("films", QUESTION, limit=20).hits
    outside = client.explain("films", QUESTION, ranking[5].id, limit=2)
    assert (outside.rank, outside.returned) == (6, False)
    assert outside.bar == Bar(ranking[1].id, ranking[1].score)
    assert outside.gap == ranking[1].score - ranking[5].score
    assert sum(term.difference for term in outside.closing) >= outside.gap
    inside = client.explain("films", QUESTION, ranking[0].id)
    assert (inside.rank, inside.returned, inside.gap, inside.closing) == (1, True, None, ())


@pytest.mark.parametrize("name", ["sync", "aio"])
async def test_a_collection_is_calibrated(
    client: sparsegate.Client, address: str, name: str
) -> None:
    either: Any = sparsegate.Client if name == "sync" else sparsegate.aio.Client
    other = either(address)

    async def call(method: str, *args: Any, **kwargs: Any) -> Any:
        result = getattr(other, method)(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    target = f"calibrated-{name}"
    await call("create_collection", target)
    await call("upsert", target, [Document(f["id"], f["movie_description"]) for f in FILMS])
    with pytest.raises(sparsegate.FailedPrecondition) as refused:
        await call("search", target, QUESTION, target_recall=0.9)
    assert refused.value.reason == "NOT_CALIBRATED"
    queries = [film["movie_name"] for film in FILMS]
    queries.append(client.encode([QUESTION], mode="query").unwrap()[0].vector)
    made = await call("calibrate", target, queries, limit=5)
    assert (made.limit, made.queries, made.documents) == (5, 21, 20)
    assert made.points[-1].effort == 1
    assert (await call("get_collection", target)).calibration == made
    for recall in (0.5, 0.8, 1.0):
        found = await call("search", target, QUESTION, target_recall=recall)
        assert found.effort == made.effort_for(recall)
    exact = await call("search", target, QUESTION)
    assert found.hits == exact.hits
    assert (exact.approximate, exact.missed_score) == (False, None)
    searches = [Search(target, QUESTION, effort=0.4), Search(target, QUESTION, effort=7)]
    batch = await call("search_batch", searches)
    assert batch.items[0].effort == 0.4
    assert batch.items[1].field == "searches[1].effort.level"
    await call("close")


@pytest.mark.parametrize("name", ["sync", "aio"])
async def test_snapshots_go_round(address: str, tmp_path: Path, name: str) -> None:
    either: Any = sparsegate.Client if name == "sync" else sparsegate.aio.Client
    client = either(address)

    async def call(method: str, *args: Any, **kwargs: Any) -> Any:
        result = getattr(client, method)(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    taken = await call("create_snapshot", "films")
    assert taken.created.tzinfo is not None
    seen: list[tuple[int, int]] = []
    file = tmp_path / "films"
    size = await call(
        "download_snapshot", "films", taken.name, file, on_progress=lambda *at: seen.append(at)
    )
    assert seen[-1] == (size, size) == (file.stat().st_size, taken.bytes)
    sent: list[tuple[int, int]] = []
    restored = await call(
        "restore_snapshot", f"sent-{name}", file, on_progress=lambda *at: sent.append(at)
    )
    assert sent[-1] == (size, size)
    assert restored.documents == 20
    kept = await call("restore_snapshot", f"kept-{name}", taken)
    assert kept.documents == 20
    with pytest.raises(FileNotFoundError):
        await call("restore_snapshot", "new", tmp_path / "missing")
    with pytest.raises(sparsegate.NotFound):
        await call("download_snapshot", "films", "nope", tmp_path / "nope")
    assert [path.name for path in tmp_path.iterdir()] == ["films"]  # noqa: ASYNC240
    assert taken in await call("list_snapshots", "films")
    await call("delete_snapshot", "films", taken.name)
    assert taken not in await call("list_snapshots", "films")
    await call("close")


def test_an_upload_outlives_a_crash(model_repository: Path, tmp_path: Path) -> None:
    """The gateway is killed in the middle of an upload and comes back at the same address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    gateway = GatewayProcess(
        models={"repository": model_repository, "names": ["splade-tiny"]},
        inference={"backend": "onnx"},
        server={"port": port},
        index={"folder": str(tmp_path)},
    )

    def source() -> Iterator[Document]:
        for number in range(300):
            if number in {100, 200}:
                gateway.kill()
                gateway.start()
            yield Document(number, vector=SparseVector([5], [1.0]))

    with gateway, sparsegate.Client(gateway.address) as client:
        client.create_collection("crash")
        summary = client.upload("crash", source(), batch_size=7)
        assert (summary.acknowledged, summary.applied, summary.errors) == (300, 300, {})
        assert client.count("crash") == 300
        batches = -(-300 // 7)
        assert client.stream_position("crash", summary.stream) == 300
        assert client.get_collection("crash").sequence == batches  # each was applied once
