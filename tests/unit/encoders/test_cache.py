"""The cache of query vectors changes nothing but how often the model runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sparsegate_server.encoders.base import Encoding, Mode, OnTruncation
from sparsegate_server.encoders.cache import CachingEncoder, Key, QueryCache
from sparsegate_server.errors import BlankText, SparsegateError, TextTooLong
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.dummy import DummyBackend
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.telemetry.metrics import Metrics
from sparsegate_server.types import SparseVector

from .conftest import MakeEncoder

LONG = "word " * 600
ROOMY = 1 << 20


class Counted(DummyBackend):
    """Counts the texts that it is asked about."""

    def __init__(self) -> None:
        self.texts = 0

    async def infer(
        self, spec: ModelSpec, batch: TokenBatch, *, timeout: float | None = None
    ) -> Mapping[str, NDArray[np.generic]]:
        self.texts += len(batch.input_ids)
        return await super().infer(spec, batch, timeout=timeout)


MakeCaching = Callable[..., CachingEncoder]


@pytest.fixture
def backend() -> Counted:
    return Counted()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def make_caching(make_encoder: MakeEncoder, backend: Counted, metrics: Metrics) -> MakeCaching:
    def make(
        most_bytes: int = ROOMY, cache: QueryCache | None = None, **how: object
    ) -> CachingEncoder:
        return CachingEncoder(
            make_encoder(backend, **how), cache or QueryCache(most_bytes, metrics)
        )

    return make


def same(one: Encoding | SparsegateError, other: Encoding | SparsegateError) -> bool:
    if isinstance(one, SparsegateError) or isinstance(other, SparsegateError):
        return type(one) is type(other)
    return (
        one.vector.indices.tobytes() == other.vector.indices.tobytes()
        and one.vector.values.tobytes() == other.vector.values.tobytes()
        and replace(one, vector=other.vector) == other
    )


async def test_a_query_that_comes_again_runs_no_model(
    make_caching: MakeCaching, backend: Counted, metrics: Metrics
) -> None:
    encoder = make_caching()
    texts = ["music", "", "a film", LONG]
    first = await encoder.encode(texts, Mode.QUERY)
    asked = backend.texts
    again = await encoder.encode(texts, Mode.QUERY)
    assert all(map(same, first, again))
    assert isinstance(again[1], BlankText)
    assert backend.texts == asked == 3
    (fresh,) = await encoder.encode(["Music"], Mode.QUERY)
    assert isinstance(fresh, Encoding)
    assert backend.texts == asked + 1
    value = metrics.registry.get_sample_value
    labels = {"model": "splade-tiny"}
    assert value("sparsegate_query_cache_total", {**labels, "result": "hit"}) == 3
    assert value("sparsegate_query_cache_total", {**labels, "result": "miss"}) == 6
    assert value("sparsegate_query_cache_bytes") > 0


async def test_documents_are_not_kept_and_find_nothing(
    make_caching: MakeCaching, backend: Counted
) -> None:
    encoder = make_caching()
    for mode in (Mode.QUERY, Mode.DOCUMENT, Mode.DOCUMENT):
        await encoder.encode(["music"], mode)
    assert backend.texts == 3


async def test_a_kept_query_is_still_refused_where_it_is_too_long(
    make_caching: MakeCaching,
) -> None:
    encoder = make_caching()
    (flagged,) = await encoder.encode([LONG], Mode.QUERY)
    assert isinstance(flagged, Encoding)
    (refused,) = await encoder.encode([LONG], Mode.QUERY, on_truncation=OnTruncation.ERROR)
    assert isinstance(refused, TextTooLong)


async def test_models_that_differ_in_anything_share_nothing(
    make_caching: MakeCaching, spec: ModelSpec, backend: Counted, metrics: Metrics
) -> None:
    cache = QueryCache(ROOMY, metrics)
    others = [
        spec,
        replace(spec, identity=replace(spec.identity, max_terms=2)),
        replace(spec, identity=replace(spec.identity, threshold=0.6)),
        replace(spec, precision="int8"),
        # The same vectors, but what was kept does not say where their terms came from.
        replace(spec, positions=True),
    ]
    for count, each in enumerate(others, 1):
        await make_caching(cache=cache, spec=each).encode(["music film"], Mode.QUERY)
        assert backend.texts == count


async def test_what_is_kept_cannot_be_changed(make_caching: MakeCaching) -> None:
    encoder = make_caching()
    for _ in range(2):
        (found,) = await encoder.encode(["music"], Mode.QUERY)
        assert isinstance(found, Encoding)
        with pytest.raises(ValueError, match="read-only"):
            found.vector.values[0] = 0


def encoding(terms: int) -> Encoding:
    vector = SparseVector(np.arange(terms, dtype=np.uint32), np.ones(terms, np.float32))
    return Encoding(vector, tokens_used=3, truncated=False, capped=False)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(1, 200)), max_size=40),
    st.integers(0, 4000),
)
def test_the_queries_asked_last_are_kept_within_the_limit(
    steps: list[tuple[int, bool, int]], most: int
) -> None:
    metrics = Metrics()
    cache = QueryCache(most, metrics)
    kept: dict[str, int] = {}  # in the order of their last use
    for number, keeps, terms in steps:
        text = str(number)
        key = Key("model", "fp32", text)
        if keeps:
            cache.keep(key, encoding(terms))
            size = 604 + 8 * terms
            if size <= most:
                kept.pop(text, None)
                kept[text] = size
            while sum(kept.values()) > most:
                kept.pop(next(iter(kept)))
        else:
            found = cache.get("m", key)
            assert (found is not None) == (text in kept)
            if found is not None:
                assert 604 + 8 * len(found.vector) == kept[text]
                kept[text] = kept.pop(text)
    assert (metrics.registry.get_sample_value("sparsegate_query_cache_bytes") or 0) == sum(
        kept.values()
    )
