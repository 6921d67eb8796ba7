"""Models that come and go: the order of things, and what is left when something fails."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sparsegate_server import settings
from sparsegate_server.backends.base import CollectionConfig, Tier
from sparsegate_server.encoders.base import Encoding, Mode
from sparsegate_server.encoders.registry import EncoderBuilder
from sparsegate_server.errors import (
    CollectionNotFound,
    InferenceUnavailable,
    ModelLoadFailed,
    ModelNotFound,
    ModelSourceError,
    ShuttingDown,
)
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.dummy import DummyBackend
from sparsegate_server.models.repository import load_spec
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.search.loading import ModelPlan, Outcome
from sparsegate_server.search.models import ServedModels

NAME = "splade-tiny"


class OneAtATime(DummyBackend):
    """Holds one model of a name, as Triton does, and works only as fast as the test lets it.

    Attributes:
        events: what it did, in order.
        failure: of the next loads.
    """

    side_by_side = False

    def __init__(self) -> None:
        self.events: list[str] = []
        self.failure: Exception | None = None
        self.may_infer = asyncio.Event()
        self.may_load = asyncio.Event()
        self.may_infer.set()
        self.may_load.set()

    async def infer(
        self, spec: ModelSpec, batch: TokenBatch, *, timeout: float | None = None
    ) -> Mapping[str, Any]:
        await self.may_infer.wait()
        self.events.append("inferred")
        return await super().infer(spec, batch, timeout=timeout)

    async def load(self, spec: ModelSpec) -> None:  # noqa: ARG002
        self.events.append("load")
        await self.may_load.wait()
        if self.failure is not None:
            raise self.failure
        self.events.append("loaded")

    async def unload(self, spec: ModelSpec, *, successor: ModelSpec | None = None) -> None:
        self.events.append(f"unload {spec.fingerprint[:4]} {bool(successor)}")


@dataclass
class Shelf:
    """Collections by name; one that cannot be read has no config."""

    configs: dict[str, CollectionConfig | None] = field(default_factory=dict)

    def states(self) -> dict[str, str]:
        return dict.fromkeys(self.configs, "")

    def config(self, name: str) -> CollectionConfig:
        config = self.configs[name]
        if config is None:
            raise CollectionNotFound(name)
        return config


@dataclass
class Gateway:
    """A plan and what it works on."""

    repository: Path
    backend: OneAtATime
    models: ServedModels
    shelf: Shelf
    plan: ModelPlan

    async def encode(self) -> str:
        """The fingerprint of the model that encoded a text."""
        encoder = self.models.get(NAME)
        (encoding,) = await encoder.encode(["a band on tour"], Mode.DOCUMENT)
        assert isinstance(encoding, Encoding)
        return encoder.spec.fingerprint

    def describe(self, **identity: object) -> str:
        """Exports the model anew, with another identity; returns its fingerprint."""
        spec = load_spec(self.repository, NAME)
        raw = json.loads(spec.to_json())
        raw["identity"] |= identity
        known = type(spec.identity).from_dict(raw["identity"])
        raw["fingerprint"] = known.fingerprint
        (self.repository / NAME / "sparsegate.json").write_text(json.dumps(raw))
        return known.fingerprint


@pytest.fixture
async def gateway(model_repository: Path, tmp_path: Path) -> Gateway:
    repository = tmp_path / "models"
    shutil.copytree(model_repository / NAME, repository / NAME)
    chosen = settings.load(
        models={"repository": repository}, inference={"backend": "dummy", "query_cache_bytes": 0}
    )
    backend, shelf = OneAtATime(), Shelf()
    builder = EncoderBuilder(backend, chosen)
    encoder = builder.build(load_spec(repository, NAME))
    models = ServedModels({NAME: encoder}, backend)
    plan = ModelPlan(models, shelf, repository, builder.build)  # type: ignore[arg-type]
    return Gateway(repository, backend, models, shelf, plan)


async def turns(count: int = 50) -> None:
    """Lets all that can go on go on, threads included."""
    for _ in range(count):
        await asyncio.sleep(0.002)


async def test_no_request_begins_with_one_model_and_ends_with_another(gateway: Gateway) -> None:
    new = gateway.describe(max_terms=8)
    gateway.backend.may_infer.clear()
    running = asyncio.create_task(gateway.encode())
    await turns()
    loading = asyncio.create_task(gateway.plan.load(NAME))
    await turns()
    assert gateway.backend.events == []
    with pytest.raises(InferenceUnavailable, match="being replaced") as refused:
        await gateway.encode()
    assert refused.value.retry_after
    gateway.backend.may_infer.set()
    loaded = await loading
    assert await running != new
    assert (loaded.outcome, loaded.encoder.spec.fingerprint) == (Outcome.REPLACED, new)
    assert gateway.backend.events[:3] == ["inferred", "load", "loaded"]
    assert gateway.backend.events[3].endswith(" True")
    assert await gateway.encode() == new


async def test_where_loading_fails_the_old_one_goes_on(gateway: Gateway) -> None:
    old = await gateway.encode()
    gateway.describe(max_terms=8)
    gateway.backend.failure = ModelLoadFailed("no")
    with pytest.raises(ModelLoadFailed):
        await gateway.plan.load(NAME)
    assert await gateway.encode() == old
    gateway.backend.failure = None
    assert (await gateway.plan.load(NAME)).outcome is Outcome.REPLACED


async def test_an_equal_model_is_replaced_without_a_gap(gateway: Gateway) -> None:
    old = await gateway.encode()
    file = gateway.repository / NAME / "tokenizer.json"
    file.write_bytes(file.read_bytes())
    gateway.backend.may_load.clear()
    loading = asyncio.create_task(gateway.plan.load(NAME))
    await turns()
    assert gateway.backend.events[-1] == "load"
    assert await gateway.encode() == old
    gateway.backend.may_load.set()
    assert (await loading).outcome is Outcome.REPLACED


async def test_what_an_export_writes_meanwhile_is_not_served(gateway: Gateway) -> None:
    old = await gateway.encode()
    gateway.describe(max_terms=8)
    gateway.backend.may_load.clear()
    loading = asyncio.create_task(gateway.plan.load(NAME))
    await turns()
    gateway.describe(max_terms=16)
    gateway.backend.may_load.set()
    with pytest.raises(ModelSourceError, match="changed while they were loaded"):
        await loading
    assert gateway.backend.events[-1].startswith("unload")
    assert await gateway.encode() == old


async def test_one_change_of_a_name_at_a_time(gateway: Gateway) -> None:
    gateway.describe(max_terms=8)
    gateway.backend.may_load.clear()
    loads = [asyncio.create_task(gateway.plan.load(NAME)) for _ in range(3)]
    await turns()
    unloading = asyncio.create_task(gateway.plan.unload(NAME))
    await turns()
    assert not unloading.done()
    gateway.backend.may_load.set()
    outcomes = [(await load).outcome for load in loads]
    assert outcomes == [Outcome.REPLACED, Outcome.UNCHANGED, Outcome.UNCHANGED]
    assert gateway.backend.events.count("load") == 1
    await unloading
    with pytest.raises(ModelNotFound, match="served here are none"):
        await gateway.encode()


async def test_a_change_outlives_its_caller_but_not_the_gateway(gateway: Gateway) -> None:
    new = gateway.describe(max_terms=8)
    gateway.backend.may_load.clear()
    loading = asyncio.create_task(gateway.plan.load(NAME))
    await turns()
    loading.cancel()
    await asyncio.gather(loading, return_exceptions=True)
    gateway.backend.may_load.set()
    await turns()
    assert await gateway.encode() == new
    gateway.describe(max_terms=16)
    gateway.backend.may_load.clear()
    hanging = asyncio.create_task(gateway.plan.load(NAME))
    await turns()
    await gateway.plan.close()
    assert isinstance((await asyncio.gather(hanging, return_exceptions=True))[0], BaseException)
    assert await gateway.encode() == new
    with pytest.raises(ShuttingDown):
        await gateway.plan.load(NAME)


async def test_collections_that_lose_their_model_are_told(gateway: Gateway) -> None:
    old = await gateway.encode()
    config = CollectionConfig("films", Tier(NAME, old, 30522))
    gateway.shelf.configs = {
        "unreadable": None,
        "films": config,
        "books": CollectionConfig("books", Tier(NAME, "f" * 32, 30522)),
        "others": CollectionConfig("others", Tier("other", old, 30522)),
    }
    assert (await gateway.plan.load(NAME)).refused == ("books",)
    gateway.describe(max_terms=8)
    assert (await gateway.plan.load(NAME)).refused == ("books", "films")
    assert await gateway.plan.unload(NAME) == ("books", "films")
