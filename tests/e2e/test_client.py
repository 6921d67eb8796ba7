"""Both clients against a real gateway."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.golden import FILMS

import sparsegate
from sparsegate import Document, Search, SparseVector

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
