"""What the gateway counts, in Prometheus' terms.

One registry a gateway, so that several can live in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import start_http_server

from sparsegate_server.errors import FailedPrecondition

_SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """All metrics, ready to be observed."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "sparsegate_requests", "Finished requests.", ["method", "code"], registry=self.registry
        )
        self.in_flight = Gauge(
            "sparsegate_requests_in_flight", "Requests being served.", registry=self.registry
        )
        self.latency = Histogram(
            "sparsegate_request_seconds",
            "Time of a request inside the gateway.",
            ["method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.stages = Histogram(
            "sparsegate_stage_seconds",
            "Time of a request by stage: tokenize, queue, infer, search.",
            ["method", "stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "sparsegate_inference_batch_size",
            "Texts sent to the inference backend together, whoever sent them.",
            ["model"],
            buckets=_BATCH,
            registry=self.registry,
        )
        self.texts = Counter(
            "sparsegate_texts", "Encoded texts.", ["model", "mode"], registry=self.registry
        )
        self.tokens = Counter(
            "sparsegate_tokens",
            "Tokens of texts that got a vector, from the cache too; special ones included.",
            ["model", "mode"],
            registry=self.registry,
        )
        self.padded_tokens = Counter(
            "sparsegate_padded_tokens",
            "Tokens that went through models, padding and repeats included.",
            ["model"],
            registry=self.registry,
        )
        self.waiting_tokens = Gauge(
            "sparsegate_waiting_tokens",
            "Tokens that wait for inference, by lane: query, bulk.",
            ["lane"],
            registry=self.registry,
        )
        self.dropped = Counter(
            "sparsegate_dropped_texts",
            "Texts that were not encoded, by reason: deadline, cancelled, overloaded.",
            ["lane", "reason"],
            registry=self.registry,
        )
        self.query_cache = Counter(
            "sparsegate_query_cache",
            "Queries that were looked for in the cache of vectors, by result: hit, miss.",
            ["model", "result"],
            registry=self.registry,
        )
        self.query_cache_bytes = Gauge(
            "sparsegate_query_cache_bytes",
            "Estimated memory of the kept vectors of queries.",
            registry=self.registry,
        )
        self.set_aside = Gauge(
            "sparsegate_endpoint_set_aside",
            "1 while a Triton server is not asked for a graph, because it failed and is not back.",
            ["endpoint", "graph"],
            registry=self.registry,
        )
        self.postings = Counter(
            "sparsegate_postings_scored",
            "Stored term weights read by searches.",
            ["collection"],
            registry=self.registry,
        )
        self.approximate = Counter(
            "sparsegate_approximate_searches",
            "Searches that may have missed a better document, as they were asked to.",
            ["collection"],
            registry=self.registry,
        )
        self.blocks_skipped = Counter(
            "sparsegate_blocks_skipped",
            "Blocks of documents that searches passed over without reading their weights.",
            ["collection"],
            registry=self.registry,
        )
        self.fallbacks = Counter(
            "sparsegate_fallback_searches",
            "Searches that a model further down a collection's ladder answered.",
            ["collection", "model"],
            registry=self.registry,
        )
        self.documents = Gauge(
            "sparsegate_documents", "Live documents.", ["collection"], registry=self.registry
        )
        self.segments = Gauge(
            "sparsegate_segments",
            "Immutable parts of the index.",
            ["collection"],
            registry=self.registry,
        )

        self.problems = Gauge(
            "sparsegate_collection_problem",
            "1 while a collection cannot be read, is damaged, or its background work fails.",
            ["collection"],
            registry=self.registry,
        )

    def searched(self, name: str, *, postings: int, blocks: int, approximate: bool) -> None:
        """Args:
        postings: stored weights that were read.
        blocks: that were passed over.
        """
        self.postings.labels(name).inc(postings)
        self.blocks_skipped.labels(name).inc(blocks)
        self.approximate.labels(name).inc(approximate)

    def fell_back(self, name: str, model: str) -> None:
        """Counts a search of a collection that this model answered in the place of another."""
        self.fallbacks.labels(name, model).inc()

    def endpoint_watched(self, url: str, graph: str, set_aside: Callable[[], bool]) -> None:
        """Args:
        url: of an inference server.
        graph: its name there.
        set_aside: whether the server is not asked for it now; called in the thread of /metrics.
        """
        self.set_aside.labels(url, graph).set_function(set_aside)

    def endpoint_forgotten(self, url: str, graph: str) -> None:
        """Drops the series of a graph that is not served any more."""
        if (url, graph) in self.set_aside._metrics:
            self.set_aside.remove(url, graph)

    def collection_changed(self, name: str, documents: int, segments: int) -> None:
        self.documents.labels(name).set(documents)
        self.segments.labels(name).set(segments)

    def collection_states(self, problems: Mapping[str, str]) -> None:
        """Args:
        problems: of every collection, "" where there is none.
        """
        for name, problem in problems.items():
            self.problems.labels(name).set(bool(problem))

    def collection_deleted(self, name: str) -> None:
        """Forgets a collection's series, so that a deleted one does not live on as a flat line."""
        for metric in (
            self.documents,
            self.segments,
            self.postings,
            self.blocks_skipped,
            self.approximate,
            self.fallbacks,
            self.problems,
        ):
            # remove() warns about labels never seen
            for labels in [each for each in metric._metrics if each[0] == name]:
                metric.remove(*labels)

    def serve(self, host: str, port: int) -> MetricsServer:
        """Serves /metrics over HTTP in a thread of its own; port 0 takes a free one."""
        return MetricsServer(self.registry, host, port)


class MetricsServer:
    """A running /metrics endpoint.

    Raises:
        FailedPrecondition: the port cannot be had.

    Attributes:
        port: where it listens.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        try:
            self._server, self._thread = start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            raise FailedPrecondition(
                f"cannot serve metrics on {host}:{port} ({error.strerror}): choose another "
                "--metrics-port, or -1 for none",
                field="server.metrics_port",
            ) from error
        self.port: int = self._server.server_port

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
