"""Effort and calibration, through the wire."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import grpc
import pytest
from tests.golden import FILMS
from tests.integration.gateway.conftest import Wire, details, read, serving
from tests.integration.gateway.movies import ID, QUESTION, load_movies

from sparsegate.v1 import collection_pb2, common_pb2, effort_pb2, search_pb2

Effort = effort_pb2.Effort
INVALID = grpc.StatusCode.INVALID_ARGUMENT
WORDS = ("band", "music", "war", "love", "space", "robot", "detective", "family", "sea", "money")
TEXTS = [f"a film about {word}" for word in (*WORDS, *(film["movie_name"] for film in FILMS))]


@pytest.fixture
async def films(wire: Wire) -> Wire:
    await load_movies(wire)
    return wire


def question(**fields: object) -> search_pb2.SearchRequest:
    return search_pb2.SearchRequest(collection="films", text=QUESTION, limit=10, **fields)


def calibrating(texts: list[str] = TEXTS, limit: int = 5) -> effort_pb2.CalibrateEffortRequest:
    queries = [effort_pb2.CalibrationQuery(text=text) for text in texts]
    return effort_pb2.CalibrateEffortRequest(collection="films", queries=queries, limit=limit)


async def get(wire: Wire, name: str = "films") -> collection_pb2.Collection:
    reply = await wire.collections.Get(collection_pb2.GetCollectionRequest(name=name))
    return reply.collection


async def test_a_search_is_exact_unless_less_effort_is_asked_for(films: Wire) -> None:
    exact = await films.search.Search(question())
    assert (exact.approximate, exact.HasField("missed_score"), exact.effort) == (False, False, 1.0)
    full = await films.search.Search(question(effort=Effort(level=1)))
    assert list(full.hits) == list(exact.hits)
    assert (full.approximate, full.HasField("missed_score"), full.effort) == (False, False, 1.0)


@pytest.mark.parametrize("level", [1e-9, 0.1, 0.5, 0.9])
async def test_what_may_have_been_missed_is_told(films: Wire, level: float) -> None:
    exact = await films.search.Search(question())
    found = await films.search.Search(question(effort=Effort(level=level)))
    assert found.effort == level
    assert found.HasField("missed_score") == found.approximate
    scores = {hit.id.number: hit.score for hit in exact.hits}
    assert all(scores.get(hit.id.number, hit.score) == hit.score for hit in found.hits)
    missed = scores.keys() - {hit.id.number for hit in found.hits}
    assert found.approximate or not missed
    assert all(scores[number] <= found.missed_score for number in missed)


@pytest.mark.parametrize(
    ("effort", "fields"),
    [
        (Effort(), ["effort.kind"]),
        (Effort(level=0), ["effort.level"]),
        (Effort(level=-0.5), ["effort.level"]),
        (Effort(level=1.001), ["effort.level"]),
        (Effort(level=math.nan), ["effort.level"]),
        (Effort(level=math.inf), ["effort.level"]),
        (Effort(target_recall=0), ["effort.target_recall"]),
        (Effort(target_recall=1.5), ["effort.target_recall"]),
        (Effort(target_recall=math.nan), ["effort.target_recall"]),
    ],
)
async def test_bad_efforts_are_refused(
    films: Wire, effort: effort_pb2.Effort, fields: list[str]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await films.search.Search(question(effort=effort))
    assert details(caught.value) == (INVALID, "INVALID_REQUEST", fields)
    batch = search_pb2.SearchBatchRequest(searches=[question(), question(effort=effort)])
    good, bad = (await films.search.SearchBatch(batch)).results
    assert len(good.response.hits) == 10
    blamed = [f"searches[1].{field}" for field in fields]
    assert read(bad.error) == (INVALID.value[0], "INVALID_REQUEST", blamed)


async def test_a_target_recall_needs_a_calibration(films: Wire) -> None:
    asked = question(effort=Effort(target_recall=0.9))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await films.search.Search(asked)
    code, reason, _ = details(caught.value)
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_CALIBRATED")
    assert "effort.target_recall" in (caught.value.details() or "")
    assert "CalibrateEffort" in (caught.value.details() or "")
    batch = search_pb2.SearchBatchRequest(searches=[asked, question()])
    bad, good = (await films.search.SearchBatch(batch)).results
    assert read(bad.error)[1] == "NOT_CALIBRATED"
    assert good.response.hits


async def test_a_calibration_serves_targets_and_survives_a_restart(model_repository: Path) -> None:
    async with serving(model_repository) as wire:
        await load_movies(wire)
        assert not (await get(wire)).HasField("calibration")
        made = (await wire.search.CalibrateEffort(calibrating())).calibration
        assert (made.limit, made.queries, made.documents) == (5, len(TEXTS), len(FILMS))
        assert made.sequence == (await get(wire)).sequence
        assert [point.effort for point in made.points] == sorted(p.effort for p in made.points)
        last = made.points[-1]
        assert (last.effort, last.recall, last.recall_bound) == (1.0, 1.0, 1.0)
        assert last.postings_scored > 0
        assert last.milliseconds > 0
        assert (await get(wire)).calibration == made
    async with serving(model_repository) as wire:
        assert (await get(wire)).calibration == made
        for target in (0.01, 0.8, 0.999, 1.0):
            least = next(p.effort for p in made.points if p.recall_bound >= target)
            asked = question(effort=Effort(target_recall=target))
            assert (await wire.search.Search(asked)).effort == least
        exact = await wire.search.Search(question())
        assert list((await wire.search.Search(asked)).hits) == list(exact.hits)
        batch = search_pb2.SearchBatchRequest(searches=[asked, question(effort=Effort(level=0.3))])
        efforts = [each.response.effort for each in (await wire.search.SearchBatch(batch)).results]
        assert efforts == [1.0, 0.3]


async def test_a_collection_is_calibrated_with_vectors_too(films: Wire) -> None:
    encoded = (await films.search.Search(question(with_query=True))).query.vector
    queries = [effort_pb2.CalibrationQuery(vector=encoded)] * 10
    request = effort_pb2.CalibrateEffortRequest(collection="films", queries=queries)
    made = (await films.search.CalibrateEffort(request)).calibration
    assert (made.limit, made.queries) == (10, 10)


def with_query(query: effort_pb2.CalibrationQuery, count: int = 12) -> list[object]:
    queries = [effort_pb2.CalibrationQuery(text="a band")] * count
    return [*queries[:3], query, *queries[4:]]


@pytest.mark.parametrize(
    ("request_", "reason", "fields"),
    [
        (calibrating(TEXTS[:9]), "INVALID_REQUEST", ["queries"]),
        (calibrating(["band"] * 10_001), "INVALID_REQUEST", ["queries"]),
        (calibrating(limit=10_001), "INVALID_REQUEST", ["limit"]),
        (calibrating(limit=101), "INVALID_REQUEST", ["limit"]),
        (calibrating([*["band"] * 80, "  "]), "BLANK_TEXT", ["queries[80].text"]),
        (
            effort_pb2.CalibrateEffortRequest(
                collection="films", queries=with_query(effort_pb2.CalibrationQuery())
            ),
            "INVALID_REQUEST",
            ["queries[3].query"],
        ),
        (
            effort_pb2.CalibrateEffortRequest(
                collection="films",
                queries=with_query(
                    effort_pb2.CalibrationQuery(
                        vector=common_pb2.SparseVector(indices=[1], values=[-1])
                    )
                ),
            ),
            "INVALID_VECTOR",
            ["queries[3].vector.values[0]"],
        ),
    ],
)
async def test_bad_calibrations_change_nothing(
    films: Wire,
    request_: effort_pb2.CalibrateEffortRequest,
    reason: str,
    fields: list[str],
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await films.search.CalibrateEffort(request_)
    assert details(caught.value) == (INVALID, reason, fields)
    assert not (await get(films)).HasField("calibration")


async def test_queries_that_find_nothing_are_no_sample(wire: Wire) -> None:
    await wire.create("films")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wire.search.CalibrateEffort(calibrating())
    assert details(caught.value) == (INVALID, "INVALID_REQUEST", ["queries"])
    request = calibrating()
    request.collection = "nowhere"
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await wire.search.CalibrateEffort(request)
    assert details(missing.value)[:2] == (grpc.StatusCode.NOT_FOUND, "COLLECTION_NOT_FOUND")


async def test_searches_are_served_beside_a_calibration(films: Wire) -> None:
    measuring = asyncio.ensure_future(films.search.CalibrateEffort(calibrating(TEXTS * 20)))
    found = 0
    while not measuring.done():
        found += len((await films.search.Search(question())).hits)
    assert found >= 100
    assert (await measuring).calibration.queries == len(TEXTS) * 20


async def test_an_explanation_is_about_the_exact_search(films: Wire) -> None:
    exact = await films.search.Search(question())
    last = exact.hits[-1]
    reply = await films.search.Explain(
        search_pb2.ExplainRequest(collection="films", text=QUESTION, id=ID(number=last.id.number))
    )
    assert (reply.rank, reply.returned) == (len(exact.hits), True)


async def test_what_searches_passed_over_is_counted(films: Wire) -> None:
    sample = films.gateway.metrics.registry.get_sample_value
    replies = [
        await films.search.Search(question(effort=Effort(level=level))) for level in (0.01, 0.5, 1)
    ]
    films_only = {"collection": "films"}
    skipped = sample("sparsegate_blocks_skipped_total", films_only)
    assert skipped == sum(reply.blocks_skipped for reply in replies)
    counted = sample("sparsegate_approximate_searches_total", films_only)
    assert counted == sum(reply.approximate for reply in replies)
    await films.collections.Delete(collection_pb2.DeleteCollectionRequest(name="films"))
    assert sample("sparsegate_approximate_searches_total", films_only) is None
