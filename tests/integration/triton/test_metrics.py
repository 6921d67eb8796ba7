"""Which servers are set aside, as /metrics tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sparsegate_server import settings
from sparsegate_server.inference.base import InferenceBackend
from sparsegate_server.inference.factory import build_backend
from sparsegate_server.inference.tritonserver import TritonServer, preflight
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.telemetry.metrics import Metrics

MODEL = "splade-tiny"
PATIENCE = 30.0


@pytest.fixture
def port() -> int:
    """Where nothing listens yet."""
    return preflight.free_ports(1)[0]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def both(
    server: TritonServer, port: int, terms: ModelSpec, metrics: Metrics
) -> AsyncIterator[InferenceBackend]:
    """One server that is there, and one that is not."""
    urls = [server.url, f"127.0.0.1:{port}"]
    chosen = settings.load(inference={"backend": "triton"}, triton={"urls": urls})
    made = build_backend(chosen, [terms], metrics)
    yield made
    await made.close()


def shown(metrics: Metrics) -> dict[tuple[str, str], float]:
    """The gauge's series, by endpoint and graph."""
    (gauge,) = metrics.set_aside.collect()
    return {(each.labels["endpoint"], each.labels["graph"]): each.value for each in gauge.samples}


async def becomes(metrics: Metrics, key: tuple[str, str], wanted: float) -> bool:
    for _ in range(round(PATIENCE / 0.05)):
        if shown(metrics)[key] == wanted:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_a_server_is_shown_as_long_as_it_is_set_aside(
    both: InferenceBackend,
    metrics: Metrics,
    server: TritonServer,
    port: int,
    model_repository: Path,
    terms: ModelSpec,
) -> None:
    here, away = (server.url, MODEL), (f"127.0.0.1:{port}", MODEL)
    assert shown(metrics) == {}
    assert await both.ready(terms)
    assert await becomes(metrics, away, 1)
    assert shown(metrics) == {here: 0, away: 1}
    started = TritonServer(model_repository, [MODEL], grpc_port=port)
    await asyncio.to_thread(started.start)
    try:
        assert await becomes(metrics, away, 0)
        assert shown(metrics) == {here: 0, away: 0}
    finally:
        await asyncio.to_thread(started.stop)


async def test_a_graph_is_shown_until_no_model_has_it(
    both: InferenceBackend, metrics: Metrics, server: TritonServer, port: int, terms: ModelSpec
) -> None:
    """Of two models of one name, one after the other, that both are known for a while."""
    older = replace(terms, identity=replace(terms.identity, max_length=128))
    url = f"127.0.0.1:{port}"
    assert not await both.ready(older)  # The server that is there has another one.
    assert await both.ready(terms)
    assert await becomes(metrics, (url, MODEL), 1)
    assert shown(metrics)[server.url, MODEL] == 1  # Of the older.
    await both.unload(older, successor=terms)
    assert shown(metrics) == {(server.url, MODEL): 0, (url, MODEL): 1}
    await both.unload(terms)
    assert shown(metrics) == {}
