"""The composition root: builds the parts, starts them, drains and stops them."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import signal
import sys
from contextlib import suppress

from sparsegate_server.backends.embedded import EmbeddedBackend
from sparsegate_server.encoders.registry import EncoderBuilder
from sparsegate_server.inference.factory import build_backend
from sparsegate_server.models.repository import load_specs
from sparsegate_server.rpc import archives
from sparsegate_server.rpc.collections import CollectionServicer
from sparsegate_server.rpc.documents import DocumentServicer
from sparsegate_server.rpc.encode import EncodeServicer
from sparsegate_server.rpc.interceptor import Gatekeeper
from sparsegate_server.rpc.models import ModelServicer
from sparsegate_server.rpc.search import SearchServicer
from sparsegate_server.rpc.server import RpcServer
from sparsegate_server.search.collections import CollectionPlan
from sparsegate_server.search.encode import EncodePlan
from sparsegate_server.search.ingest import IngestPlan
from sparsegate_server.search.loading import ModelPlan
from sparsegate_server.search.models import ServedModels
from sparsegate_server.search.query import QueryPlan
from sparsegate_server.settings import Settings
from sparsegate_server.telemetry import logs
from sparsegate_server.telemetry.metrics import Metrics, MetricsServer

logger = logging.getLogger(__name__)

READY_POLL_SECONDS = 1.0
SWITCH_SECONDS = 0.0005


class Gateway:
    """One gateway process.

    Attributes:
        port: of gRPC, once started.
        metrics_port: of /metrics, once started; -1 where it is turned off.
    """

    def __init__(self, settings: Settings) -> None:
        """Builds all parts; nothing listens yet.

        Raises:
            ModelNotFound, ModelSourceError: a model to serve is not exported, or none is.
        """
        self._settings = settings
        self.port = 0
        self.metrics_port = -1
        self.metrics = Metrics()
        specs = load_specs(settings.models.repository, settings.models.names)
        self._inference = build_backend(settings, specs, self.metrics)
        self._index = EmbeddedBackend(
            settings.index,
            most_snapshot_bytes=settings.limits.max_snapshot_bytes,
            most_payload_bytes=settings.limits.max_payload_bytes,
        )
        builder = EncoderBuilder(self._inference, settings, self.metrics)
        encoders = {spec.name: builder.build(spec) for spec in specs}
        self._models = ServedModels(encoders, self._inference)
        self._model_plan = ModelPlan(
            self._models, self._index, settings.models.repository, builder.build
        )
        self._draining = asyncio.Event()
        self._incoming = settings.index.folder / "incoming"
        self._rpc = self._build_rpc()
        self._metrics_server: MetricsServer | None = None
        self._watch: asyncio.Task[None] | None = None

    def _build_rpc(self) -> RpcServer:
        limits, models, backend = self._settings.limits, self._models, self._index
        encode = EncodePlan(models, self.metrics)
        collections = CollectionPlan(models, backend, self.metrics)
        ingest = IngestPlan(models, backend, encode, self.metrics)
        return RpcServer(
            Gatekeeper(self._settings, self.metrics),
            encode=EncodeServicer(encode, limits),
            collections=CollectionServicer(collections, backend, limits, self._incoming),
            documents=DocumentServicer(ingest, collections, backend, limits, self._draining),
            search=SearchServicer(QueryPlan(models, backend, encode, self.metrics), limits),
            models=ModelServicer(models, self._model_plan),
            largest_message=limits.max_message_bytes,
        )

    async def start(self) -> None:
        """Warms the kernels up, opens the collections, listens, and reports itself healthy once a
        model can encode; see `RpcServer.set_encoding`.

        Raises:
            FailedPrecondition: the address, the metrics port or the data folder cannot be had.
            StorageFull, CorruptStore: the data folder cannot be used.
        """
        await self._index.start()
        await asyncio.to_thread(archives.clear, self._incoming)
        for stats in await self._index.list_collections():
            self.metrics.collection_changed(stats.config.name, stats.documents, stats.segments)
        await self._rpc.start(self._settings.server)
        self.port = self._rpc.port
        if self._settings.server.metrics_port >= 0:
            self._metrics_server = self.metrics.serve(
                self._settings.server.host, self._settings.server.metrics_port
            )
            self.metrics_port = self._metrics_server.port
        ready = await self._models_ready()
        await self._rpc.set_encoding(ready)
        self._watch = asyncio.create_task(self._watch_models(ready))
        logger.info(
            "listening",
            extra={
                "host": self._settings.server.host,
                "port": self.port,
                "metrics_port": self.metrics_port,
                "inference": self._inference.name,
                "data": str(self._settings.index.folder),
                "unreadable_collections": self._index.problems(),
                "models": [encoder.spec.name for encoder in self._models.all()],
                "ready": ready,
            },
        )

    async def stop(self) -> None:
        """Drains: new requests are refused, accepted ones finish, then every part is closed."""
        if self._watch is not None:
            logger.info("draining", extra={"seconds": self._settings.server.drain_seconds})
        self._draining.set()
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        await self._rpc.stop(self._settings.server.drain_seconds)
        if self._metrics_server is not None:
            await asyncio.to_thread(self._metrics_server.close)
        await self._model_plan.close()
        await self._inference.close()
        await self._index.close()
        if self._watch is not None:
            logger.info("stopped")

    async def _models_ready(self) -> bool:
        """Whether any model can encode, if only queries. One that cannot must not take the others
        out of service; ModelService says it of each."""
        served = [encoder.spec for encoder in self._models.all()]
        if any(spec.identity.queries == "tokens" for spec in served):
            return True
        return any(await asyncio.gather(*map(self._inference.ready, served)))

    async def _watch_models(self, ready: bool) -> None:
        """Health follows the inference backend, without a restart in either direction; the metric
        of problems follows the collections."""
        while True:
            self.metrics.collection_states(self._index.states())
            await asyncio.sleep(READY_POLL_SECONDS)
            now = await self._models_ready()
            if now != ready:
                ready = now
                await self._rpc.set_encoding(ready)
                logger.warning("health changed", extra={"encoding": ready})


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then drains.

    Raises:
        SparsegateError: the gateway cannot start; the message says why.
    """
    logs.configure(settings.log)
    # A search that comes back from a kernel waits for the GIL at most so long, whatever Python code
    # background work is in; the default of 5 ms is several searches.
    sys.setswitchinterval(SWITCH_SECONDS)
    _allow_many_files()
    asyncio.run(_serve(settings))


def _allow_many_files() -> None:
    """Each mapped file of an index takes a descriptor, and the usual 1,024 are few for that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(settings: Settings) -> None:
    gateway = Gateway(settings)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        await gateway.start()
        # What has been made until now stays: later collections need not look at it, during which
        # nothing else would run.
        gc.freeze()
        await stopping.wait()
    finally:
        await gateway.stop()
