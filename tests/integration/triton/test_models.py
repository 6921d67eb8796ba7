"""Models that come and go on real Triton servers."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import tritonclient.grpc.aio as triton

from sparsegate import Document, aio, errors
from sparsegate_server import settings
from sparsegate_server.app import Gateway
from sparsegate_server.errors import FingerprintMismatch, InferenceUnavailable, ModelLoadFailed
from sparsegate_server.inference.triton import TritonBackend
from sparsegate_server.inference.tritonserver import TritonServer, preflight
from sparsegate_server.models.pull import pull
from sparsegate_server.models.recipe import FamilyChoice
from sparsegate_server.models.repository import Vectors, export, load_spec
from sparsegate_server.models.spec import ModelSpec

pytestmark = pytest.mark.usefixtures("can_run_triton")

TEXT = "a band on tour"
PATIENCE = 20.0


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny`, and `sums`, which adds up what the tokens say."""
    folder = tmp_path_factory.mktemp("two_models")
    export(pull("splade-tiny"), folder, name="tiny")
    export_sums(folder, "sums")
    return folder


def export_sums(repository: Path, name: str) -> ModelSpec:
    vectors = Vectors(family=FamilyChoice.SPLADE_SUM)
    return export(pull("splade-tiny"), repository, name=name, vectors=vectors)


@pytest.fixture(scope="module")
def triton_with_tiny(can_run_triton: None, repository: Path) -> Iterator[TritonServer]:
    """Was started with `tiny` alone."""
    with TritonServer(repository, ["tiny"]) as started:
        yield started


@asynccontextmanager
async def serving(
    repository: Path, data: Path, url: str, *, names: Sequence[str] = ("tiny",)
) -> AsyncIterator[aio.Client]:
    """A client of a gateway that was started with these models."""
    gateway = Gateway(
        settings.load(
            server={"port": 0, "metrics_port": -1, "drain_seconds": 5},
            models={"repository": repository, "names": list(names)},
            inference={"backend": "triton"},
            triton={"urls": [url]},
            index={"folder": data},
        )
    )
    await gateway.start()
    try:
        async with aio.Client(f"127.0.0.1:{gateway.port}") as client:
            yield client
    finally:
        await gateway.stop()


@asynccontextmanager
async def asking(server: TritonServer) -> AsyncIterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(server.url)
    try:
        yield client
    finally:
        await client.close()


async def until(true: Callable[[], Awaitable[bool]]) -> bool:
    for _ in range(round(PATIENCE / 0.05)):
        if await true():
            return True
        await asyncio.sleep(0.05)
    return False


async def hammer(client: aio.Client, latencies: list[float]) -> None:
    """Encodes until it is cancelled; any error ends it otherwise."""
    try:
        while True:
            began = time.monotonic()
            reply = await client.encode([f"{TEXT} {began}"], mode="document", model="tiny")
            assert not reply.errors
            latencies.append(time.monotonic() - began)
    except asyncio.CancelledError:
        return


async def test_a_model_that_triton_was_not_started_with(
    repository: Path, triton_with_tiny: TritonServer, tmp_path: Path
) -> None:
    async with (
        serving(repository, tmp_path / "data", triton_with_tiny.url) as client,
        asking(triton_with_tiny) as server,
    ):
        latencies: list[float] = []
        hammering = [asyncio.create_task(hammer(client, latencies)) for _ in range(2)]
        loaded = await client.load_model("sums")
        assert (loaded.outcome, loaded.model.ready) == ("loaded", True)
        assert await server.is_model_ready("sums")
        await client.create_collection("books", model="sums")
        (await client.upsert("books", [Document(1, TEXT)])).raise_for_errors()
        assert [hit.id for hit in (await client.search("books", TEXT)).hits] == [1]
        assert {model.name: model.ready for model in await client.list_models()} == {
            "sums": True,
            "tiny": True,
        }
        assert (await client.load_model("sums")).outcome == "unchanged"
        gone = await client.unload_model("sums")
        for task in hammering:
            task.cancel()
        assert await asyncio.gather(*hammering, return_exceptions=True) == 2 * [None]
        assert len(latencies) > 10
        assert gone.collections == ("books",)
        assert not await server.is_model_ready("sums")
        with pytest.raises(errors.NotFound, match="sparsegate models load sums"):
            await client.search("books", TEXT)
        assert (await client.load_model("sums")).outcome == "loaded"
        assert [hit.id for hit in (await client.search("books", TEXT)).hits] == [1]
        await client.unload_model("sums")


async def test_a_query_graph_comes_and_goes_with_its_model(
    repository: Path, triton_with_tiny: TritonServer, tmp_path: Path
) -> None:
    pulled = pull("splade-tiny")
    export(pulled, repository, name="twin", vectors=Vectors(queries=pulled))
    async with (
        serving(repository, tmp_path / "data", triton_with_tiny.url) as client,
        asking(triton_with_tiny) as server,
    ):
        assert (await client.load_model("twin")).model.ready
        for mode in ("query", "document"):
            assert not (await client.encode([TEXT], mode=mode, model="twin")).errors
        assert await server.is_model_ready("twin.query")
        await client.unload_model("twin")
        assert not await server.is_model_ready("twin.query")
        assert not await server.is_model_ready("twin")


async def test_what_triton_had_without_our_order_it_keeps(
    repository: Path, triton_with_tiny: TritonServer, tmp_path: Path
) -> None:
    async with (
        serving(repository, tmp_path / "data", triton_with_tiny.url) as client,
        asking(triton_with_tiny) as server,
    ):
        await client.unload_model("tiny")
        assert await client.list_models() == []
        assert await server.is_model_ready("tiny")
        assert (await client.load_model("tiny")).outcome == "loaded"
        await client.unload_model("tiny")
        assert await server.is_model_ready("tiny")


async def test_a_new_export_takes_the_place_of_the_old_one(
    repository: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(repository, tmp_path / "models")
    with TritonServer(own, ["tiny"]) as server:
        async with serving(own, tmp_path / "data", server.url) as client:
            old = await client.get_model("tiny")
            latencies: list[float] = []
            hammering = [asyncio.create_task(hammer(client, latencies)) for _ in range(2)]
            await asyncio.to_thread(export_sums, own, "tiny")
            reply = await client.load_model("tiny")
            await asyncio.sleep(0.2)
            for task in hammering:
                task.cancel()
            assert await asyncio.gather(*hammering, return_exceptions=True) == 2 * [None]
            assert reply.outcome == "replaced"
            assert reply.model.fingerprint != old.fingerprint
            assert (
                await client.encode([TEXT], mode="query")
            ).fingerprint == reply.model.fingerprint


async def test_a_triton_that_comes_back_is_given_the_order_again(
    repository: Path, tmp_path: Path
) -> None:
    port = preflight.free_ports(1)[0]
    first = TritonServer(repository, ["tiny"], grpc_port=port)
    await asyncio.to_thread(first.start)
    try:
        async with serving(repository, tmp_path / "data", first.url) as client:
            await client.load_model("sums")
            await asyncio.to_thread(first.stop)
            with TritonServer(repository, ["tiny"], grpc_port=port):

                async def ready() -> bool:
                    return (await client.get_model("sums")).ready

                assert await until(ready)
                assert not (await client.encode([TEXT], mode="query", model="sums")).errors
    finally:
        await asyncio.to_thread(first.stop)


async def test_what_another_gateway_unloads_is_loaded_again(
    repository: Path, triton_with_tiny: TritonServer, tmp_path: Path
) -> None:
    url = triton_with_tiny.url
    async with (
        serving(repository, tmp_path / "one", url) as one,
        serving(repository, tmp_path / "two", url) as two,
    ):
        await one.load_model("sums")
        await two.load_model("sums")
        assert not (await two.encode([TEXT], mode="query", model="sums")).errors
        await one.unload_model("sums")

        async def encoded() -> bool:
            try:
                reply = await two.encode([f"{TEXT} again"], mode="query", model="sums")
            except errors.Unavailable:
                return False
            return not reply.errors

        assert await until(encoded)
        await two.unload_model("sums")


async def test_what_is_served_but_not_there_can_be_loaded(
    repository: Path, triton_with_tiny: TritonServer, tmp_path: Path
) -> None:
    names = ("tiny", "sums")
    url = triton_with_tiny.url
    async with serving(repository, tmp_path / "data", url, names=names) as client:
        assert not (await client.get_model("sums")).ready
        loaded = await client.load_model("sums")
        assert (loaded.outcome, loaded.model.ready) == ("loaded", True)
        assert not (await client.encode([TEXT], mode="query", model="sums")).errors
        await client.unload_model("sums")


async def test_what_triton_cannot_load_changes_nothing(
    repository: Path, triton_with_tiny: TritonServer, tmp_path: Path
) -> None:
    elsewhere = shutil.copytree(repository, tmp_path / "models")
    export_sums(elsewhere, "new")
    backend = TritonBackend([triton_with_tiny.url])
    tiny, new = (load_spec(elsewhere, name) for name in ("tiny", "new"))
    with pytest.raises(ModelLoadFailed, match=r"did not load model 'new' .*--model-repository"):
        await backend.load(new)
    other = replace(tiny, identity=new.identity)
    with pytest.raises(FingerprintMismatch):
        await backend.load(other)
    assert await backend.ready(tiny)
    await backend.close()


async def test_a_server_that_takes_no_orders(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = shutil.copytree(repository, tmp_path / "models")
    command = TritonServer._command
    orders = ("--model-control-mode", "--load-model")
    monkeypatch.setattr(
        TritonServer,
        "_command",
        lambda *given: [word for word in command(*given) if not word.startswith(orders)],
    )
    with TritonServer(own, ["tiny"]) as server:
        export_sums(own, "new")
        backend = TritonBackend([server.url])
        await backend.load(load_spec(own, "sums"))  # It has all that were there at its start.
        with pytest.raises(ModelLoadFailed, match="--model-control-mode=explicit"):
            await backend.load(load_spec(own, "new"))
        await backend.unload(load_spec(own, "sums"))
        assert not await backend.ready(load_spec(own, "sums"))
        await backend.close()
        other = TritonBackend([server.url])
        assert await other.ready(load_spec(own, "sums"))
        await other.close()


async def test_one_of_two_servers_is_enough(
    repository: Path, triton_with_tiny: TritonServer
) -> None:
    nobody = f"127.0.0.1:{preflight.free_ports(1)[0]}"
    spec = load_spec(repository, "sums")
    alone = TritonBackend([nobody])
    with pytest.raises(InferenceUnavailable, match="is away"):
        await alone.load(spec)
    await alone.close()
    both = TritonBackend([nobody, triton_with_tiny.url])
    await both.load(spec)
    assert await both.ready(spec)
    await both.unload(spec)
    await both.close()
