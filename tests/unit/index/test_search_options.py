"""Pages, thresholds, IDF, filters and explanations: what a search asks for besides its query."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegate_server.errors import InvalidFilter, ReplyTooLarge, UnindexedFilter
from sparsegate_server.filters import (
    TEXT_FIELD,
    Contains,
    FieldKind,
    Filter,
    IsNull,
    Match,
    Nested,
    Range,
)
from sparsegate_server.index import Collection
from sparsegate_server.index.filter.match import dropped_by
from sparsegate_server.operations import WHOLE, SearchOptions, Selection

from . import oracle
from .opening import document, documents, hits, opened, scratch
from .oracle import Model, Stored, Vector, sparse
from .strategies import FIELDS, VOCABULARY, batches, options, queries


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    with opened(tmp_path / "c", shards=2) as collection:
        yield collection


def fill(collection: Collection, model: Model) -> None:
    """A third sealed, a third sealed apart, a third not."""
    every = documents(model)
    third = -(-len(every) // 3)
    for start in range(0, len(every), third):
        collection.upsert(every[start : start + third])
        if start < 2 * third:
            collection.seal()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(batches, min_size=1, max_size=5),
    st.lists(st.tuples(queries, options), min_size=1, max_size=6),
    st.sampled_from([1, 4]),
    st.sets(st.sampled_from(list(FIELDS))),
)
def test_whatever_is_asked_for_is_what_brute_force_finds(batched, asked, shards, indexed) -> None:  # type: ignore[no-untyped-def]
    with scratch() as root, opened(root / "c", shards=shards) as collection:
        model: Model = {}
        for field in indexed:
            collection.create_index(field, FIELDS[field][0])
        for place, batch in enumerate(batched):
            collection.upsert(batch)
            model = oracle.upserted(model, batch)
            if place % 2 == 0:
                collection.seal()
        for query, wanted in asked:
            check_search(collection, model, query, wanted)
            for key in model:
                check_standing(collection, model, query, wanted, key)


def check_search(
    collection: Collection, model: Model, query: Vector, wanted: SearchOptions
) -> None:
    found = collection.search(sparse(query), wanted)
    scored = oracle.with_idf(model, query) if wanted.idf else query
    assert [(hit.id, hit.score) for hit in found.hits] == oracle.page(model, query, wanted)
    assert oracle.plain(found.query) == scored


def check_standing(  # type: ignore[no-untyped-def]
    collection: Collection, model: Model, query: Vector, wanted: SearchOptions, key
) -> None:
    standing = collection.explain(sparse(query), key, wanted)
    scored = oracle.with_idf(model, query) if wanted.idf else query
    ranking = oracle.ranking(model, query, wanted)
    page = oracle.page(model, query, wanted)
    place = [each for each, _ in ranking].index(key) + 1 if key in dict(ranking) else None
    score = oracle.score(scored, model[key].vector)
    assert standing.score == score
    assert standing.rank == place
    assert standing.returned == (key in dict(page))
    assert standing.below_threshold == (
        score is not None and wanted.threshold is not None and score < wanted.threshold
    )
    each = model[key]
    assert standing.dropped_by == (
        dropped_by(wanted.filter, key, each.text, each.payload) if wanted.filter else ""
    )
    assert oracle.plain(standing.vector) == each.vector
    if not page:
        assert standing.bar_id is standing.bar_score is standing.bar_vector is None
        return
    assert (standing.bar_id, standing.bar_score) == page[-1]
    assert standing.bar_vector is not None
    assert oracle.plain(standing.bar_vector) == model[page[-1][0]].vector


LADDER: Model = {key: Stored({1: 1.0 + key / 10}) for key in range(30)}
LADDER = {key: Stored({1: float(np.float32(each.vector[1]))}) for key, each in LADDER.items()}


def test_a_threshold_is_reached_by_the_score_that_equals_it(collection: Collection) -> None:
    fill(collection, LADDER)
    for key in range(30):
        score = LADDER[key].vector[1]
        above = [(each, LADDER[each].vector[1]) for each in range(29, key - 1, -1)]
        assert hits(collection, {1: 1.0}, SearchOptions(99, threshold=score)) == above
        # A little more, in the 64 bits of the threshold, is too much for the 32 of the score.
        barely = float(np.nextafter(score, np.inf))
        assert hits(collection, {1: 1.0}, SearchOptions(99, threshold=barely)) == above[:-1]
        barely = float(np.nextafter(score, -np.inf))
        assert hits(collection, {1: 1.0}, SearchOptions(99, threshold=barely)) == above


@pytest.mark.parametrize("threshold", [0.0, -0.0, -1.0, -1e300, float("-inf")])
def test_thresholds_that_every_score_reaches(collection: Collection, threshold: float) -> None:
    tiny = float(np.finfo(np.float32).smallest_subnormal)
    collection.upsert([document(1, {1: tiny})])
    found = hits(collection, {1: tiny}, SearchOptions(9, threshold=threshold))
    assert found == [(1, 0.0)]


@pytest.mark.parametrize("threshold", [1e39, 1e300, float("inf")])
def test_thresholds_that_no_score_reaches(collection: Collection, threshold: float) -> None:
    fill(collection, LADDER)
    assert hits(collection, {1: 1.0}, SearchOptions(9, threshold=threshold)) == []


def test_pages_follow_one_another(collection: Collection) -> None:
    fill(collection, LADDER)
    whole = hits(collection, {1: 2.0}, 30)
    for limit in (1, 7, 30):
        paged = []
        for offset in range(0, 40, limit):
            paged += hits(collection, {1: 2.0}, SearchOptions(limit, offset=offset))
        assert paged == whole


def test_a_filter_lets_as_many_hits_come_as_pass(collection: Collection) -> None:
    """However bad their scores are beside those that do not pass."""
    model: Model = {
        key: Stored({1: 1.0 if key % 50 == 0 else 100.0 + key}, None, {"n": key})
        for key in range(1000)
    }
    fill(collection, model)
    rare = Filter(must=(Match("n", tuple(range(0, 1000, 50))),))
    for _ in range(2):
        for limit in (1, 10, 20):
            expected = [(key, 1.0) for key in range(0, 50 * limit, 50)]
            assert hits(collection, {1: 1.0}, SearchOptions(limit, filter=rare)) == expected
        collection.create_index("n", FieldKind.NUMBER)
        while collection.build_indexes():
            pass


def test_words_that_a_hit_must_have(collection: Collection) -> None:
    texts = ["part AB-12 fits", "part AB-123 fits", "ab-12!", "AB 12", "12-AB", "", None]
    model: Model = {key: Stored({1: 1.0}, text) for key, text in enumerate(texts)}
    fill(collection, model)
    code = SearchOptions(9, filter=Filter(must=(Contains("AB-12"),)))
    for _ in range(2):
        found = [key for key, _ in hits(collection, {1: 1.0}, code)]
        assert found == list(oracle.passing(model, code.filter))
        assert found[:1] == [0]
        assert 1 not in found
        collection.create_index(TEXT_FIELD, FieldKind.TEXT)
        while collection.build_indexes():
            pass


def test_fields_without_an_index_are_named(collection: Collection) -> None:
    fill(collection, {key: Stored({1: 1.0}, None, {"n": key}) for key in range(9)})
    both = Filter(must=(Range("n", gte=3), IsNull("a.b")), should=(Range("n", gte=0),))
    options = SearchOptions(5, filter=both)
    assert collection.search(sparse({1: 1.0}), options).unindexed == ("a.b", "n")
    collection.create_index("n", FieldKind.NUMBER)
    assert collection.search(sparse({1: 1.0}), options).unindexed == ("a.b", "n")
    assert collection.build_indexes()
    assert not collection.build_indexes()
    assert collection.search(sparse({1: 1.0}), options).unindexed == ("a.b",)
    assert collection.count(both).unindexed == ("a.b",)
    assert collection.scroll(None, 5, both).unindexed == ("a.b",)
    assert collection.explain(sparse({1: 1.0}), 1, options).unindexed == ("a.b",)
    assert collection.search(sparse({1: 1.0}), SearchOptions(5)).unindexed == ()


def test_too_many_documents_are_not_read_one_by_one(tmp_path: Path) -> None:
    small = Filter(must=(Range("n", lt=3),))
    with opened(tmp_path / "c", shards=2, most_unindexed=10) as collection:
        model: Model = {key: Stored({1: 1.0}, None, {"n": key}) for key in range(11)}
        collection.upsert(documents(model))
        assert collection.count(small).count == 3  # what is not sealed costs nothing
        collection.seal()
        for call in (
            lambda: collection.search(sparse({1: 1.0}), SearchOptions(1, filter=small)),
            lambda: collection.explain(sparse({1: 1.0}), 1, SearchOptions(1, filter=small)),
            lambda: collection.count(small),
            lambda: collection.scroll(None, 1, small),
            lambda: collection.delete(small),
        ):
            with pytest.raises(UnindexedFilter) as caught:
                call()
            assert "CreatePayloadIndex" in caught.value.message
            assert " n:" in caught.value.message
            assert caught.value.metadata["fields"] == "n"
        assert collection.size().sequence == 1
        collection.create_index("n", FieldKind.NUMBER)
        collection.build_indexes()
        assert collection.count(small).count == 3
        nested = Filter(must=(Nested("other", Filter()),))
        with pytest.raises(UnindexedFilter, match=" other:"):
            collection.count(nested)
        few = Filter(must=(Range("n", lt=3), IsNull("other")))
        assert collection.count(few).count == 0
        assert collection.delete(small).affected == 3


@pytest.mark.parametrize("select", [Selection(text=True), Selection(payload=True), WHOLE])
def test_replies_that_would_be_too_large_are_refused(
    collection: Collection, select: Selection
) -> None:
    model: Model = {
        key: Stored(dict.fromkeys(range(VOCABULARY), 1.0), "x" * 1000, {"p": "y" * 1000})
        for key in range(20)
    }
    fill(collection, model)
    room = 20 * (40 + 1100 * select.text + 1100 * select.payload + 200 * select.vector)
    enough = SearchOptions(20, select=select, max_bytes=room)
    assert len(collection.search(sparse({1: 1.0}), enough).hits) == 20
    assert len(collection.get(list(model), select, max_bytes=room).documents) == 20
    tight = SearchOptions(20, select=select, max_bytes=15_000)
    with pytest.raises(ReplyTooLarge) as caught:
        collection.search(sparse({1: 1.0}), tight)
    assert caught.value.field == "limit"
    assert "page" in caught.value.message
    with pytest.raises(ReplyTooLarge) as caught:
        collection.get(list(model), select, max_bytes=15_000)
    assert caught.value.field == "ids"
    paged = SearchOptions(5, 15, select=select, max_bytes=15_000)
    assert len(collection.search(sparse({1: 1.0}), paged).hits) == 5
    # The hits alone are never too many.
    bare = SearchOptions(20, max_bytes=1)
    assert len(collection.search(sparse({1: 1.0}), bare).hits) == 20


@pytest.mark.parametrize("most", [1, 3_000, 15_000])
def test_pages_hold_what_a_reply_has_room_for(collection: Collection, most: int) -> None:
    model: Model = {key: Stored({1: 1.0}, "x" * (100 * key)) for key in range(40)}
    fill(collection, model)
    seen: Model = {}
    after = None
    while True:
        page = collection.scroll(after, 10, max_bytes=most)
        assert 1 <= len(page.documents) <= 10
        texts = sum(len(each.text or "") for each in page.documents)
        assert texts <= most or len(page.documents) == 1
        seen |= {each.id: oracle.content(each) for each in page.documents}
        after = page.next_after
        if after is None:
            break
        assert after == page.documents[-1].id
    assert seen == model


def test_a_collection_that_keeps_no_texts(tmp_path: Path) -> None:
    with opened(tmp_path / "c", keep_text=False) as collection:
        collection.upsert([document(1, {1: 1.0}, "forgotten", {"n": 1})])
        for _ in range(2):
            (found,) = collection.get([1]).documents
            assert found is not None
            assert (found.text, found.payload) == (None, {"n": 1})
            for condition in (Contains("forgotten"), Match(TEXT_FIELD, ("forgotten",))):
                texts = Filter(must=(condition,))
                with pytest.raises(InvalidFilter):
                    collection.count(texts)
                with pytest.raises(InvalidFilter):
                    collection.delete(texts)
            with pytest.raises(Exception, match="keeps no texts"):
                collection.create_index(TEXT_FIELD, FieldKind.TEXT)
            collection.seal()


def test_a_filter_that_cannot_be_understood_is_refused_everywhere(collection: Collection) -> None:
    fill(collection, LADDER)
    bad = Filter(must=(Match("a..b", (1,)),))
    for call in (
        lambda: collection.search(sparse({1: 1.0}), SearchOptions(1, filter=bad)),
        lambda: collection.explain(sparse({1: 1.0}), 1, SearchOptions(1, filter=bad)),
        lambda: collection.count(bad),
        lambda: collection.scroll(None, 1, bad),
        lambda: collection.delete(bad),
    ):
        with pytest.raises(InvalidFilter) as caught:
            call()
        assert caught.value.field == "must[0].field"
    assert collection.size().sequence == 3
