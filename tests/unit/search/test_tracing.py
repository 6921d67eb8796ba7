"""Where an explanation says that terms came from, and why it does not: a real index and real plans
over made-up inference."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sparsegate_server.backends.base import CollectionConfig, Tier
from sparsegate_server.backends.embedded import EmbeddedBackend
from sparsegate_server.encoders.base import NOBODY, Encoding, Mode
from sparsegate_server.encoders.registry import build_encoder
from sparsegate_server.errors import InferenceUnavailable
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.dummy import DummyBackend
from sparsegate_server.models.spec import Family, ModelSpec
from sparsegate_server.operations import Document, SearchOptions
from sparsegate_server.search.encode import EncodePlan
from sparsegate_server.search.models import ServedModels
from sparsegate_server.search.query import Explained, QueryPlan, SearchJob
from sparsegate_server.search.resolve import Query
from sparsegate_server.search.sources import SourceState
from sparsegate_server.search.timing import Timings
from sparsegate_server.search.vectors import RawVector
from sparsegate_server.settings import Index, Settings
from sparsegate_server.telemetry.metrics import Metrics
from sparsegate_server.types import SparseVector

TEXT = "a rock band on 🎬 tour"
QUESTION = "the band on tour"


class Fickle(DummyBackend):
    """Answers until it is told not to."""

    down = False
    batches = 0

    async def infer(
        self, spec: ModelSpec, batch: TokenBatch, *, timeout: float | None = None
    ) -> Mapping[str, NDArray[np.generic]]:
        self.batches += 1
        if self.down:
            raise InferenceUnavailable("gone")
        return await super().infer(spec, batch, timeout=timeout)


@dataclass
class Bench:
    """One collection, `films`, and what explains a document of it."""

    models: ServedModels
    inference: Fickle
    index: EmbeddedBackend
    plan: QueryPlan

    async def vector(self, text: str = TEXT) -> SparseVector:
        (made,) = await self.models.get("").encode([text], Mode.DOCUMENT)
        assert isinstance(made, Encoding)
        return made.vector

    async def store(
        self, vector: SparseVector, text: str | None = TEXT, keep_text: bool = True
    ) -> None:
        spec = self.models.get("").spec
        config = CollectionConfig(
            "films", Tier(spec.name, spec.fingerprint, 30522), keep_text=keep_text
        )
        await self.index.create_collection(config)
        await self.index.upsert("films", [Document(1, vector, text)])

    async def explain(self, query: str | SparseVector = QUESTION) -> Explained:
        content = query if isinstance(query, str) else RawVector(query.indices, query.values, "")
        job = SearchJob(Query("films", content), SearchOptions(limit=1))
        return await self.plan.explain(job, 1, timings=Timings(), caller=NOBODY)


async def bench_of(
    repository: Path, folder: Path, positions: bool, family: Family = "splade"
) -> Bench:
    spec = ModelSpec.load(repository / "splade-tiny")
    identity = replace(spec.identity, family=family, dropped_terms=(0, 100, 101, 102, 103))
    spec = replace(spec, identity=identity, positions=positions)
    inference, metrics = Fickle(), Metrics()
    encoder = build_encoder(spec, repository / "splade-tiny", inference, Settings())
    models = ServedModels({spec.name: encoder}, inference)
    encode, index = EncodePlan(models, metrics), EmbeddedBackend(Index(folder=folder))
    await index.start()
    return Bench(models, inference, index, QueryPlan(models, index, encode, metrics))


@pytest.fixture
async def bench(model_repository: Path, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = await bench_of(model_repository, tmp_path / "data", positions=True)
    yield bench
    await bench.index.close()


def states(done: Explained) -> tuple[SourceState, SourceState]:
    return done.query_sources.state, done.document_sources.state


async def test_every_term_has_the_token_that_makes_the_most_of_it(bench: Bench) -> None:
    await bench.store(await bench.vector())
    done = await bench.explain()
    assert states(done) == (SourceState.KNOWN, SourceState.KNOWN)
    for text, sources, vector in (
        (QUESTION, done.query_sources, done.standing.query),
        (TEXT, done.document_sources, done.standing.vector),
    ):
        wanted = {row.term_id for row in done.explanation.terms}
        assert wanted <= sources.tokens.keys() <= set(vector.indices.tolist())
        for term, source in sources.tokens.items():
            assert source.start == source.end or text[source.start : source.end] == source.text
            # The token alone gives the term the weight that the whole text gives it.
            weights = dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True))
            if source.start < source.end:
                alone = await bench.vector(source.text)
                assert alone.values[alone.indices == term].max() == pytest.approx(weights[term])
    by_term = {row.term: row.term_id for row in done.explanation.terms}
    assert {"band", "on", "tour"} <= by_term.keys()
    band = done.document_sources.tokens[by_term["band"]]
    assert (band.text, band.start, band.end) == ("band", 7, 11)


async def test_only_the_terms_of_the_query_are_looked_for(bench: Bench) -> None:
    await bench.store(await bench.vector())
    done = await bench.explain("band")
    assert set(done.document_sources.tokens) == {row.term_id for row in done.explanation.terms}
    assert len(done.document_sources.tokens) < len(done.standing.vector)


async def test_queries_without_a_graph_are_traced_all_the_same(
    model_repository: Path, tmp_path: Path
) -> None:
    bench = await bench_of(
        model_repository, tmp_path / "data", positions=False, family="splade-doc"
    )
    await bench.store(await bench.vector())
    before = bench.inference.batches
    done = await bench.explain("the band, the tour")
    assert states(done) == (SourceState.KNOWN, SourceState.NO_POSITIONS)
    found = {row.term: done.query_sources.tokens[row.term_id] for row in done.explanation.terms}
    assert (found["band"].start, found["tour"].start) == (4, 14)
    assert {source.start for source in done.query_sources.tokens.values()} == {0, 4, 8, 14}
    assert bench.inference.batches == before
    await bench.index.close()


async def test_without_positions_the_text_is_not_read(
    model_repository: Path, tmp_path: Path
) -> None:
    bench = await bench_of(model_repository, tmp_path / "data", positions=False)
    await bench.store(await bench.vector())
    before = bench.inference.batches
    done = await bench.explain()
    assert states(done) == (SourceState.NO_POSITIONS, SourceState.NO_POSITIONS)
    assert not done.query_sources.tokens
    assert not done.document_sources.tokens
    assert bench.inference.batches == before + 1
    await bench.index.close()


async def test_a_query_that_came_as_a_vector_has_no_text(bench: Bench) -> None:
    await bench.store(await bench.vector())
    done = await bench.explain(await bench.vector(QUESTION))
    assert states(done) == (SourceState.NO_TEXT, SourceState.KNOWN)
    assert not done.query_sources.tokens
    assert done.document_sources.tokens


@pytest.mark.parametrize(("text", "keep_text"), [(None, True), (TEXT, False)])
async def test_a_text_that_was_not_kept(bench: Bench, text: str | None, keep_text: bool) -> None:
    await bench.store(await bench.vector(), text, keep_text)
    done = await bench.explain()
    assert states(done) == (SourceState.KNOWN, SourceState.NO_TEXT)
    assert not done.document_sources.tokens


async def test_a_vector_of_the_callers_own_has_sources_where_it_agrees(bench: Bench) -> None:
    made = await bench.vector()
    values = made.values.copy()
    values[::2] *= 1.5
    await bench.store(SparseVector(made.indices, values))
    done = await bench.explain()
    assert done.document_sources.state is SourceState.OTHER_VECTOR
    agreeing = set(made.indices[1::2].tolist())
    query = set(done.standing.query.indices.tolist())
    assert set(done.document_sources.tokens) == agreeing & query
    assert agreeing & query != set(made.indices.tolist()) & query


@pytest.mark.parametrize("text", ["", "\x00", "🧿"])
async def test_a_text_of_which_the_model_makes_nothing(bench: Bench, text: str) -> None:
    await bench.store(await bench.vector(), text)
    assert (await bench.explain()).document_sources.state is SourceState.OTHER_VECTOR


async def test_an_explanation_does_without_the_model(bench: Bench) -> None:
    query = await bench.vector(QUESTION)
    await bench.store(await bench.vector())
    scored = await bench.explain(query)
    bench.inference.down = True
    done = await bench.explain(query)
    assert states(done) == (SourceState.NO_TEXT, SourceState.UNAVAILABLE)
    assert done.explanation == scored.explanation
    with pytest.raises(InferenceUnavailable):
        await bench.explain(QUESTION)
