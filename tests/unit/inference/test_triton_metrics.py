"""The gauge of servers that are set aside, where there is none."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sparsegate_server.errors import InferenceUnavailable, ModelNotFound
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.circuit import _small
from sparsegate_server.inference.triton import TritonBackend
from sparsegate_server.inference.tritonserver.preflight import free_ports
from sparsegate_server.models.spec import ModelIdentity, ModelSpec
from sparsegate_server.telemetry.metrics import Metrics


def value(metrics: Metrics, url: str, graph: str) -> float | None:
    labels = {"endpoint": url, "graph": graph}
    return metrics.registry.get_sample_value("sparsegate_endpoint_set_aside", labels)


@pytest.fixture
def batch(spec: ModelSpec) -> TokenBatch:
    return _small(spec)


@pytest.fixture
def spec() -> ModelSpec:
    return ModelSpec("m", ModelIdentity("splade", "", "", 4))


async def test_each_server_of_each_model_has_a_breaker(spec: ModelSpec, batch: TokenBatch) -> None:
    metrics = Metrics()
    urls = [f"127.0.0.1:{port}" for port in free_ports(2)]
    backend = TritonBackend(urls, max_attempts=2, metrics=metrics)
    with pytest.raises(InferenceUnavailable):
        await backend.infer(spec, batch, timeout=5)
    # Each has failed once: it takes three.
    assert [value(metrics, url, "m") for url in urls] == [0, 0]
    for _ in range(2):
        with pytest.raises(InferenceUnavailable):
            await backend.infer(spec, batch, timeout=5)
    assert [value(metrics, url, "m") for url in urls] == [1, 1]
    assert [value(metrics, url, "other") for url in urls] == [None, None]
    await backend.unload(spec)
    assert [value(metrics, url, "m") for url in urls] == [None, None]
    await backend.close()


async def test_a_model_that_is_gone_is_watched_no_more_whoever_asks_for_it(
    spec: ModelSpec, batch: TokenBatch
) -> None:
    """As a reply does that lists the models, and had begun to before."""
    metrics = Metrics()
    (port,) = free_ports(1)
    url = f"127.0.0.1:{port}"
    backend = TritonBackend([url], metrics=metrics)
    assert not await backend.ready(spec)
    assert value(metrics, url, "m") == 1
    await backend.unload(spec)
    before = asyncio.all_tasks()
    assert not await backend.ready(spec)
    with pytest.raises(ModelNotFound, match="not loaded"):
        await backend.infer(spec, batch, timeout=5)
    assert value(metrics, url, "m") is None
    assert asyncio.all_tasks() == before
    await backend.close()


async def test_what_was_replaced_does_not_stand_for_its_successor(spec: ModelSpec) -> None:
    metrics = Metrics()
    (port,) = free_ports(1)
    url = f"127.0.0.1:{port}"
    backend = TritonBackend([url], metrics=metrics)
    await backend.unload(
        spec, successor=replace(spec, identity=replace(spec.identity, max_terms=7))
    )
    assert not await backend.ready(spec)
    assert value(metrics, url, "m") is None
    await backend.close()
