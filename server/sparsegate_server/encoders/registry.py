"""Which class encodes which family."""

from __future__ import annotations

import os
from pathlib import Path

from sparsegate_server.encoders.base import Encoder
from sparsegate_server.encoders.batcher import Batcher, Places
from sparsegate_server.encoders.batching import BatchRules
from sparsegate_server.encoders.cache import CachingEncoder, QueryCache
from sparsegate_server.encoders.splade import SpladeEncoder
from sparsegate_server.encoders.tokenizer import ModelTokenizer
from sparsegate_server.inference.base import InferenceBackend
from sparsegate_server.models.query_table import load_query_table
from sparsegate_server.models.spec import Family, ModelSpec
from sparsegate_server.settings import Settings
from sparsegate_server.telemetry.metrics import Metrics

_FAMILIES: dict[Family, type[SpladeEncoder]] = {
    "splade": SpladeEncoder,
    "splade-doc": SpladeEncoder,
}

_TRITON_QUERIES = 1
"""Batches of queries in flight to each Triton server. The fewer they are, the more texts wait for
one another and share a batch: of 32 clients with a question each, 12 with 1 place, 5 with 2, at the
same rate. More let a fast GPU work while a batch is on its way."""

_TRITON_BULK = 3
"""Batches of bulk in flight to each Triton server: two at work in its instances, one on its way."""

_BULK_TOKENS = 512
"""Of a batch on a processor while queries come. The fewer they are, the sooner a query that comes
meanwhile has the processor for itself. Threads of a lower rank did worse: they are set aside while
they hold the interpreter's lock."""

_QUIET_TOKENS = 1024
"""The same while none comes. A core is about as fast with 256 tokens as with 2,048, but what a
batch costs besides, a millisecond or two, falls upon more texts: an ingest is faster by a
fifteenth. With 2,048 it is hardly faster still, and the first query to come waits twice as long."""

_REST = 2.0
"""Of bulk, after a batch that queries came into. Without any, the 99th percentile of queries was
1.8 to 2.6 times what it is without bulk in process, and 1.5 to 2.1 with Triton on the same cores;
with 1, 1.6 to 2.1 and 1.6 to 2.2; with 2, it was below 2, for half of bulk's pace or less."""

_QUERY_TOKENS = 2048
"""The same of queries: nobody comes before them."""

_GPU_TOKENS = 8192
"""Of a batch on a GPU, which wants some milliseconds of work."""

_LOCAL_STEP = 8
"""Texts are padded to multiples of so many tokens in this process, where any shape may run."""

_TRITON_STEP = 16
"""The same of bulk for Triton on a processor: half as far apart as the fixed lengths, for a
twentieth less work. Queries keep to those, at which Triton joins what several gateways send."""

_LOCAL_OVERHEAD = 64
"""What a batch costs besides its texts, in tokens: half a millisecond or two on a core."""

_TRITON_OVERHEAD = 256
"""The same on its way to Triton and there, where a fuller batch is what a GPU wants besides."""


def batch_rules(settings: Settings, *, urgent: bool) -> BatchRules:
    """What one batch of queries, or of bulk, may hold before the backend that the settings name."""
    inference = settings.inference
    remote = inference.backend == "triton"
    own = inference.max_batch_tokens
    return BatchRules(
        max_texts=inference.max_batch_size,
        max_tokens=own or (_QUERY_TOKENS if urgent else _BULK_TOKENS),
        step=_LOCAL_STEP if not remote else 0 if urgent else _TRITON_STEP,
        overhead=_TRITON_OVERHEAD if remote else _LOCAL_OVERHEAD,
        quiet_tokens=0 if own or urgent else _QUIET_TOKENS,
        gpu_tokens=0 if own else _GPU_TOKENS,
        may_use_gpu=remote,
    )


def build_batcher(
    backend: InferenceBackend, settings: Settings, metrics: Metrics | None = None
) -> Batcher:
    """The queue before the backend; one for all models, because they share its cores."""
    inference = settings.inference
    return Batcher(
        backend,
        batch_rules(settings, urgent=True),
        batch_rules(settings, urgent=False),
        _places(settings),
        inference.max_waiting_tokens,
        metrics or Metrics(),
    )


def _places(settings: Settings) -> Places:
    """In this process a place is a core. What is in Triton's own queue cannot be overtaken, so that
    bulk has one place there while queries come, and none while one runs."""
    fixed = settings.inference.max_concurrent_batches
    if settings.inference.backend != "triton":
        cores = fixed or os.cpu_count() or 1
        return Places(cores, cores, kept=1, rest=_REST)
    servers = len(settings.triton.urls)
    bulk = fixed or _TRITON_BULK * servers
    return Places(fixed or _TRITON_QUERIES * servers, bulk, kept=bulk - servers, rest=_REST)


def build_encoder(
    spec: ModelSpec,
    folder: Path,
    backend: InferenceBackend,
    settings: Settings,
    batcher: Batcher | None = None,
    cache: QueryCache | None = None,
) -> Encoder:
    """The encoder of one model.

    Args:
        folder: the model's folder in the model repository.
        batcher: shared with other encoders of the same backend; a new one when None.
        cache: of queries' vectors; none when None.

    Raises:
        ModelSourceError: the tokenizer or the weights of queries are missing or not the model's.
    """
    identity = spec.identity
    encoder = _FAMILIES[identity.family](
        spec,
        ModelTokenizer(folder, spec),
        batcher or build_batcher(backend, settings),
        load_query_table(folder, identity) if identity.queries == "tokens" else None,
    )
    # Without a graph, a query's vector is made faster than it is found.
    return encoder if cache is None or spec.for_queries is None else CachingEncoder(encoder, cache)


class EncoderBuilder:
    """Makes encoders that share one queue before the backend and one cache of queries' vectors.

    Args:
        backend: runs the graphs of all models.
        metrics: of all of them.
    """

    def __init__(
        self, backend: InferenceBackend, settings: Settings, metrics: Metrics | None = None
    ) -> None:
        metrics = metrics or Metrics()
        self._backend = backend
        self._settings = settings
        self._batcher = build_batcher(backend, settings, metrics)
        self._cache = QueryCache(settings.inference.query_cache_bytes, metrics)

    def build(self, spec: ModelSpec) -> Encoder:
        """The encoder of a model of the settings' repository. Raises as `build_encoder` does."""
        folder = self._settings.models.repository / spec.name
        return build_encoder(
            spec, folder, self._backend, self._settings, self._batcher, self._cache
        )
