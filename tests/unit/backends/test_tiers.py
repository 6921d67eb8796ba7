"""A collection with a ladder answers, tier by tier, as collections of one model each do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparsegate_server.backends import snapshots
from sparsegate_server.backends.base import CollectionConfig, Tier
from sparsegate_server.backends.embedded import EmbeddedBackend
from sparsegate_server.backends.facts import config_from, facts_of
from sparsegate_server.backends.ranges import TermRanges
from sparsegate_server.errors import ReplyTooLarge, SnapshotRefused, SparsegateError
from sparsegate_server.filters import Filter, Match
from sparsegate_server.operations import WHOLE, Document, SearchOptions
from sparsegate_server.settings import Index
from sparsegate_server.types import SparseVector

SIZES = (12, 5, 70_000)
"""Vocabularies. All of them together take ids of 32 bits, the first alone of 16."""

TIERS = tuple(Tier(f"model-{at}", f"print-{at}", size) for at, size in enumerate(SIZES))
LADDER = CollectionConfig("ladder", TIERS[0], 2, True, TIERS[1:])


def vectors(size: int) -> st.SearchStrategy[SparseVector]:
    """Of few terms, so that documents share them, and of weights that make ties."""
    terms = st.sampled_from(sorted({0, 1, 2, size - 2, size - 1}))
    weights = st.sampled_from([0.25, 0.5, 1.0, 1.0000001, 3.0])
    return st.dictionaries(terms, weights, min_size=1, max_size=4).map(of_dict)


def of_dict(weights: dict[int, float]) -> SparseVector:
    terms = sorted(weights)
    return SparseVector(
        np.array(terms, np.uint32), np.array([weights[term] for term in terms], np.float32)
    )


Rows = list[tuple[SparseVector, ...]]
rows = st.lists(st.tuples(*map(vectors, SIZES)), min_size=1, max_size=12)


def same(left: SparseVector | None, right: SparseVector | None) -> bool:
    if left is None or right is None:
        return left is right
    return np.array_equal(left.indices, right.indices) and np.array_equal(left.values, right.values)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedBackend]:
    backend = EmbeddedBackend(
        Index(folder=tmp_path_factory.mktemp("tiers") / "data", threads=2, tail_documents=4)
    )
    await backend.start()
    yield backend
    await backend.close()


async def filled(backend: EmbeddedBackend, documents: Rows) -> list[str]:
    """The collection with a ladder, and one for each of its tiers; names of the latter."""
    alone = [tier.model for tier in TIERS]
    for stats in await backend.list_collections():
        await backend.delete_collection(stats.config.name)
    for config in (LADDER, *(CollectionConfig(tier.model, tier) for tier in TIERS)):
        await backend.create_collection(config)
    payloads = [{"even": at % 2 == 0} for at in range(len(documents))]
    await backend.upsert(
        "ladder",
        [
            Document(at, own, f"text {at}", payloads[at], tuple(ladder))
            for at, (own, *ladder) in enumerate(documents)
        ],
    )
    for number, name in enumerate(alone):
        await backend.upsert(
            name,
            [
                Document(at, each[number], f"text {at}", payloads[at])
                for at, each in enumerate(documents)
            ],
        )
    return alone


@pytest.mark.asyncio(loop_scope="module")
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    documents=rows,
    queries=st.tuples(*map(vectors, SIZES)),
    idf=st.booleans(),
    effort=st.sampled_from([1.0, 0.5]),
    filtered=st.booleans(),
    sealed=st.booleans(),
)
async def test_each_tier_is_searched_as_if_it_were_alone(
    backend: EmbeddedBackend,
    documents: Rows,
    queries: Sequence[SparseVector],
    idf: bool,
    effort: float,
    filtered: bool,
    sealed: bool,
) -> None:
    alone = await filled(backend, documents)
    if sealed:
        await backend.optimize("ladder")
    options = SearchOptions(
        limit=5,
        idf=idf,
        effort=effort,
        select=WHOLE,
        filter=Filter(must=(Match("even", (True,)),)) if filtered else None,
    )
    asked = [(query, replace(options, tier=tier)) for tier, query in enumerate(queries)]
    together = await backend.search_batch("ladder", asked)
    for tier, (name, query) in enumerate(zip(alone, queries, strict=True)):
        expected = await backend.search(name, query, replace(options, effort=1.0))
        exact = await backend.search("ladder", query, replace(options, tier=tier, effort=1.0))
        batched = together[tier]
        assert not isinstance(batched, SparsegateError)
        assert (list(exact.ids), list(exact.scores)) == (list(expected.ids), list(expected.scores))
        assert same(exact.query, expected.query)
        for one, other in zip(exact.documents, expected.documents, strict=True):
            assert (one.id, one.text, one.payload) == (other.id, other.text, other.payload)
            assert same(one.vector, other.vector)
        if effort == 1.0:
            assert (list(batched.ids), list(batched.scores)) == (
                list(expected.ids),
                list(expected.scores),
            )
        assert set(batched.ids) <= set(range(len(documents)))
        for id in range(len(documents)):
            there = await backend.explain("ladder", query, id, replace(options, tier=tier))
            here = await backend.explain(name, query, id, options)
            assert (there.score, there.rank, there.returned, there.bar_id, there.bar_score) == (
                here.score,
                here.rank,
                here.returned,
                here.bar_id,
                here.bar_score,
            )
            assert same(there.vector, documents[id][tier])
            assert same(there.query, here.query)
            assert same(there.bar_vector, here.bar_vector)


@pytest.mark.asyncio(loop_scope="module")
async def test_reads_give_the_own_model_s_vectors_and_writes_change_all_tiers(
    backend: EmbeddedBackend,
) -> None:
    before = tuple(of_dict({1: 1.0}) for _ in SIZES)
    after = tuple(of_dict({2: 2.0}) for _ in SIZES)
    await filled(backend, [before, before])
    own, *ladder = after
    await backend.upsert("ladder", [Document(0, own, None, {}, tuple(ladder))])
    read = await backend.get("ladder", [0, 1, 7], select=WHOLE)
    page = await backend.scroll("ladder", after=None, limit=10, select=WHOLE)
    for documents in (read.documents[:2], page.documents):
        assert [each is not None and same(each.vector, wanted) for each, wanted in zip(
            documents, (after[0], before[0]), strict=True
        )] == [True, True]  # fmt: skip
    assert read.documents[2] is None
    for tier in range(len(SIZES)):
        options = SearchOptions(limit=5, tier=tier)
        assert (await backend.search("ladder", before[tier], options)).ids == [1]
        assert (await backend.search("ladder", after[tier], options)).ids == [0]
    await backend.delete("ladder", [1])
    for tier in range(len(SIZES)):
        options = SearchOptions(limit=5, tier=tier)
        assert not (await backend.search("ladder", before[tier], options)).ids


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_reply_is_as_large_as_that_of_its_tier_alone(
    backend: EmbeddedBackend, sealed: bool
) -> None:
    """Most of all, the many terms of another tier keep nobody from reading one of few."""
    vector = of_dict({1: 1.0, 2: 2.0})
    large = of_dict(dict.fromkeys(range(1, 5_000), 1.0))
    alone = await filled(backend, [(vector, vector, large)] * 3)
    names = ("ladder", *alone)
    if sealed:
        for name in names:
            await backend.optimize(name)
    for tier, name in enumerate(alone):
        told = {}
        for asked, number in ((name, 0), ("ladder", tier)):
            options = SearchOptions(limit=3, select=WHOLE, max_bytes=1, tier=number)
            with pytest.raises(ReplyTooLarge) as caught:
                await backend.search(asked, vector, options)
            (batched,) = await backend.search_batch(asked, [(vector, options)])
            told[asked] = caught.value.message, str(batched)
        assert told[name] == told["ladder"]
    messages = []
    pages = []
    for name in ("ladder", alone[0]):
        with pytest.raises(ReplyTooLarge) as caught:
            await backend.get(name, [0, 1, 2], max_bytes=1)
        messages.append(caught.value.message)
        page = await backend.scroll(name, after=None, limit=3, max_bytes=200)
        pages.append([each.id for each in page.documents])
    assert messages[0] == messages[1]
    assert pages[0] == pages[1] == [0, 1]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_ladder_survives_a_restart_and_a_snapshot(tmp_path: Path) -> None:
    folder = Index(folder=tmp_path / "data")
    vector = of_dict({1: 1.0})
    backend = EmbeddedBackend(folder)
    await backend.start()
    await backend.create_collection(LADDER)
    await backend.upsert("ladder", [Document(5, vector, None, {}, (vector, vector))])
    taken = await backend.create_snapshot("ladder")
    archive = await backend.snapshot_path("ladder", taken.name)
    await backend.restore_snapshot("again", archive)
    await backend.close()
    backend = EmbeddedBackend(folder)
    await backend.start()
    try:
        for name in ("ladder", "again"):
            assert backend.config(name) == replace(LADDER, name=name)
            for tier in range(len(SIZES)):
                found = await backend.search(name, vector, SearchOptions(limit=3, tier=tier))
                assert list(found.ids) == [5]
    finally:
        await backend.close()


@pytest.mark.parametrize("ladder", [(), TIERS[1:]])
def test_facts_give_the_config_back(ladder: tuple[Tier, ...]) -> None:
    config = replace(LADDER, ladder=ladder)
    facts = json.loads(json.dumps(facts_of(config)))
    assert config_from(facts, "ladder") == config
    assert config_from(facts, "other").name == "other"


def test_facts_of_older_versions_are_read() -> None:
    """And those without a ladder are what older versions wrote, so that they read them again."""
    first = {"model": "m", "fingerprint": "f", "vocabulary_size": 9, "shards": 2, "keep_text": True}
    assert config_from(first, "films") == CollectionConfig("films", Tier("m", "f", 9), 2)
    later = {**first, "name": "films", "identity": {"family": "splade"}, "precision": "fp32",
             "inference": "triton"}  # fmt: skip
    assert facts_of(config_from(later, "films")) == later


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": 1},
        {"own": {}},
        {"model": 5},
        {"fingerprint": None},
        {"vocabulary_size": "9"},
        {"vocabulary_size": 0},
        {"identity": [1]},
        {"ladder": 5},
        {"ladder": [5]},
        {"ladder": [{"model": "m"}]},
        {"ladder": [{"model": "m", "fingerprint": "f", "vocabulary_size": -1}]},
        {"ladder": {"model": "m"}},
    ],
)
def test_facts_of_strangers_are_not_believed(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the caller words it
        config_from({**facts_of(LADDER), **changes}, "films")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_snapshot_whose_ladder_does_not_fit_its_store_is_refused(
    backend: EmbeddedBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(backend, [tuple(of_dict({1: 1.0}) for _ in SIZES)])
    taken = await backend.create_snapshot("ladder")
    archive = await backend.snapshot_path("ladder", taken.name)
    short = facts_of(replace(LADDER, ladder=()))
    monkeypatch.setattr(snapshots, "_config", lambda _, name: config_from(short, name))
    with pytest.raises(SnapshotRefused, match="differ"):
        await backend.restore_snapshot("again", archive)


@given(st.data())
def test_ranges_lay_vectors_end_to_end(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(3, 50), min_size=1, max_size=4))
    ranges = TermRanges(sizes)
    own, *ladder = [data.draw(vectors(size)) for size in sizes]
    joined = ranges.joined(Document(1, own, "text", {"a": 1}, tuple(ladder)))
    assert (joined.text, joined.payload, joined.ladder) == ("text", {"a": 1}, ())
    assert ranges.total == sum(sizes)
    assert np.all(np.diff(joined.vector.indices.astype(np.int64)) > 0)
    assert joined.vector.indices[-1] < ranges.total
    assert joined.vector.indices.dtype == np.uint32
    for tier, vector in enumerate((own, *ladder)):
        assert same(ranges.part(joined.vector, tier), vector)
        placed = ranges.placed(vector, tier)
        assert placed.indices.dtype == np.uint32
        assert set(placed.indices.tolist()) <= set(joined.vector.indices.tolist())
