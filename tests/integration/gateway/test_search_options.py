"""What searches and explanations take besides their query, through the wire."""

from __future__ import annotations

import math
from pathlib import Path

import grpc
import pytest
from tests.integration.gateway.conftest import Wire, details, serving
from tests.integration.gateway.movies import ID, QUESTION, load_movies

from sparsegate import filters as words
from sparsegate._filters import write_filter
from sparsegate.v1 import collection_pb2, common_pb2, document_pb2, search_pb2


@pytest.fixture
async def films(wire: Wire) -> Wire:
    await load_movies(wire)
    return wire


def question(limit: int = 20, **fields: object) -> search_pb2.SearchRequest:
    return search_pb2.SearchRequest(collection="films", text=QUESTION, limit=limit, **fields)


def explain(number: int, **fields: object) -> search_pb2.ExplainRequest:
    id = ID(number=number)
    return search_pb2.ExplainRequest(collection="films", text=QUESTION, id=id, **fields)


async def test_an_offset_passes_over_hits(films: Wire) -> None:
    every = (await films.search.Search(question())).hits
    assert len(every) > 8
    page = (await films.search.Search(question(3, offset=5))).hits
    assert list(page) == every[5:8]
    assert not (await films.search.Search(question(3, offset=97))).hits


async def test_a_threshold_keeps_what_reaches_it(films: Wire) -> None:
    every = (await films.search.Search(question())).hits
    bar = every[4].score
    kept = (await films.search.Search(question(score_threshold=bar))).hits
    assert list(kept) == [hit for hit in every if hit.score >= bar]
    assert len(kept) >= 5


async def test_idf_weighs_rare_terms_more(films: Wire) -> None:
    plain = await films.search.Search(question(with_query=True))
    rare = await films.search.Search(question(idf=True, with_query=True))
    assert [hit.score for hit in rare.hits] != [hit.score for hit in plain.hits]
    top = rare.hits[0]
    explained = await films.search.Explain(explain(top.id.number, idf=True))
    assert explained.score == top.score
    total = math.fsum(row.contribution for row in explained.terms)
    assert total == pytest.approx(top.score, rel=1e-6)


async def test_fields_of_payloads_are_selected(films: Wire) -> None:
    request = question(1, payload_include=["name", "absent"])
    (hit,) = (await films.search.Search(request)).hits
    assert hit.payload.keys() == {"name"}
    (hit,) = (await films.search.Search(question(1, payload_exclude=["name"]))).hits
    assert hit.payload.keys() == {"minutes"}
    assert not hit.HasField("text")
    got = await films.documents.Get(
        document_pb2.GetDocumentsRequest(
            collection="films", ids=[hit.id], with_text=False, payload_exclude=["minutes"]
        )
    )
    (document,) = got.documents
    assert document.payload.keys() == {"name"}
    assert not document.HasField("text")
    assert got.sequence > 0
    page = await films.documents.Scroll(
        document_pb2.ScrollDocumentsRequest(collection="films", limit=1, with_payload=False)
    )
    assert page.documents[0].text
    assert not page.documents[0].payload


async def test_an_explanation_tells_the_rank_of_every_document(films: Wire) -> None:
    every = (await films.search.Search(question())).hits
    for rank, hit in enumerate(every, 1):
        reply = await films.search.Explain(explain(hit.id.number, limit=3, offset=1))
        assert reply.rank == rank
        assert reply.returned == (2 <= rank <= 4)
        assert reply.score == hit.score
        assert (reply.bar.id, reply.bar.score) == (every[3].id, every[3].score)
        assert reply.HasField("gap") == (rank > 4)
        if rank > 4:
            assert reply.gap == every[3].score - hit.score
        if reply.HasField("gap") and reply.gap:
            closed = math.fsum(row.difference for row in reply.closing)
            assert closed >= reply.gap - 1e-6
            assert closed - reply.closing[-1].difference < reply.gap
            for row in reply.closing:
                expected = row.query_weight * (row.bar_weight - row.document_weight)
                assert row.difference == expected
        else:
            assert not reply.closing


async def test_a_document_without_a_shared_term_is_told_what_it_lacks(films: Wire) -> None:
    stranger = common_pb2.Document(
        id=ID(number=99), vector=common_pb2.SparseVector(indices=[1], values=[1])
    )
    await films.documents.Upsert(
        document_pb2.UpsertRequest(collection="films", documents=[stranger])
    )
    reply = await films.search.Explain(explain(99))
    assert (reply.matched, reply.score, reply.rank, reply.returned) == (False, 0, 0, False)
    assert reply.gap == reply.bar.score
    assert reply.closing


async def test_an_explanation_names_what_drops_a_document(films: Wire) -> None:
    top = (await films.search.Search(question(1))).hits[0].id.number
    keep = write_filter(words.Filter(must=[words.HasId([top]), words.Range("minutes", lt=0)]))
    dropped = await films.search.Explain(explain(top, filter=keep, must_contain=["band"]))
    assert (dropped.dropped_by, dropped.rank, dropped.returned) == ("filter.must[1]", 0, False)
    assert dropped.score > 0
    words_only = await films.search.Explain(explain(top, must_contain=["spinal tap", "xyz"]))
    assert words_only.dropped_by == "must_contain[1]"
    low = await films.search.Explain(explain(top, score_threshold=1e9))
    assert (low.below_threshold, low.returned, low.HasField("bar")) == (True, False, False)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (question(1, offset=100), "offset"),
        (question(1, offset=10_001), "offset"),
        (question(1, score_threshold=math.nan), "score_threshold"),
        (question(1, must_contain=[""]), "must_contain[0]"),
        (question(1, must_contain=["a"] * 65), "must_contain"),
        (question(1, payload_include=[""]), "payload_include[0]"),
        (explain(1, limit=101), "limit"),
        (explain(1, offset=95), "offset"),
    ],
)
async def test_bad_options_are_refused(
    films: Wire, request_: search_pb2.SearchRequest | search_pb2.ExplainRequest, field: str
) -> None:
    searches = isinstance(request_, search_pb2.SearchRequest)
    method = films.search.Search if searches else films.search.Explain
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await method(request_)  # type: ignore[arg-type]
    assert details(caught.value) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST",
        [field],
    )


async def test_a_reply_that_is_too_large_is_refused_before_it_is_built(
    model_repository: Path,
) -> None:
    limits = {"max_reply_bytes": 2_000}
    async with serving(model_repository, limits=limits) as wire:
        await load_movies(wire)
        assert (await wire.search.Search(question())).hits
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await wire.search.Search(question(with_text=True))
    code, reason, _ = details(caught.value)
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "REPLY_TOO_LARGE")
    assert "limit" in (caught.value.details() or "")


async def test_a_collection_may_forget_its_texts(wire: Wire) -> None:
    made = await wire.collections.Create(
        collection_pb2.CreateCollectionRequest(name="mute", keep_text=False)
    )
    assert not made.collection.keep_text
    document = common_pb2.Document(id=ID(number=1), text="a film about a band")
    await wire.documents.Upsert(document_pb2.UpsertRequest(collection="mute", documents=[document]))
    request = search_pb2.SearchRequest(collection="mute", text="band", limit=1, with_text=True)
    (hit,) = (await wire.search.Search(request)).hits
    assert not hit.HasField("text")
    request.must_contain.append("band")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wire.search.Search(request)
    code, _, fields = details(caught.value)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert fields == ["must_contain"]
