"""Keeps the vectors of queries that come again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from sparsegate_server.encoders.base import (
    NOBODY,
    Caller,
    Encoder,
    EncodeTimings,
    Encoding,
    Mode,
    OnTruncation,
    Tokenized,
)
from sparsegate_server.errors import SparsegateError
from sparsegate_server.telemetry.metrics import Metrics

_OVERHEAD: Final = 600
"""Bytes that an entry takes besides its text and its numbers."""


class Key(NamedTuple):
    """What decides a query's vector. Caps, threshold and maximum length are parts of the identity,
    whose fingerprint stands for all of it.

    Attributes:
        execution: precision and backend, which may differ within what the parity gate lets pass,
            and whether the graph says where terms came from.
        text: exactly as it was sent.
    """

    fingerprint: str
    execution: str
    text: str


class QueryCache:
    """The vectors of the queries that were asked last, of all models. Belongs to one event loop.

    Args:
        most_bytes: that the entries may take; none are kept with 0.
    """

    def __init__(self, most_bytes: int, metrics: Metrics) -> None:
        self._most = most_bytes
        self._metrics = metrics
        self._bytes = 0
        self._entries: OrderedDict[Key, Encoding] = OrderedDict()

    def get(self, model: str, key: Key) -> Encoding | None:
        """What was kept, which counts as asked for just now."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        self._metrics.query_cache.labels(model, "miss" if found is None else "hit").inc()
        return found

    def keep(self, key: Key, encoding: Encoding) -> None:
        """Keeps a vector, and drops those that nobody has asked for the longest."""
        size = _size(key, encoding)
        if size > self._most:
            return
        self._drop(key)
        # Many requests share it from now on.
        for array in (encoding.vector.indices, encoding.vector.values, encoding.positions):
            if array is not None:
                array.flags.writeable = False
        self._entries[key] = encoding
        self._bytes += size
        while self._bytes > self._most:
            self._drop(next(iter(self._entries)))
        self._metrics.query_cache_bytes.set(self._bytes)

    def _drop(self, key: Key) -> None:
        encoding = self._entries.pop(key, None)
        if encoding is not None:
            self._bytes -= _size(key, encoding)


class CachingEncoder:
    """An encoder that encodes a query only if its vector is not in the cache."""

    def __init__(self, encoder: Encoder, cache: QueryCache) -> None:
        self.spec = encoder.spec
        self._encoder = encoder
        self._cache = cache

    async def encode(
        self,
        texts: Sequence[str],
        mode: Mode,
        *,
        on_truncation: OnTruncation = OnTruncation.FLAG,
        timings: EncodeTimings | None = None,
        caller: Caller = NOBODY,
    ) -> list[Encoding | SparsegateError]:
        """See `Encoder.encode`. Only queries are kept: documents hardly come again."""
        results: list[Encoding | SparsegateError | None] = [None] * len(texts)
        if mode is Mode.QUERY:
            results = [self._kept(text, on_truncation) for text in texts]
        missing = [at for at, result in enumerate(results) if result is None]
        if missing:
            encoded = await self._encoder.encode(
                [texts[at] for at in missing],
                mode,
                on_truncation=on_truncation,
                timings=timings,
                caller=caller,
            )
            for at, result in zip(missing, encoded, strict=True):
                results[at] = result
                if mode is Mode.QUERY and isinstance(result, Encoding):
                    self._cache.keep(self._key(texts[at]), result)
        return [result for result in results if result is not None]

    async def tokenize(self, texts: Sequence[str]) -> list[Tokenized]:
        return await self._encoder.tokenize(texts)

    def term(self, term_id: int) -> str:
        return self._encoder.term(term_id)

    def _kept(self, text: str, on_truncation: OnTruncation) -> Encoding | None:
        found = self._cache.get(self.spec.name, self._key(text))
        # The encoder has words for a text that is too long, where that is an error.
        refused = found is not None and found.truncated and on_truncation is OnTruncation.ERROR
        return None if refused else found

    def _key(self, text: str) -> Key:
        spec = self.spec
        return Key(spec.fingerprint, f"{spec.precision} {spec.backend} {spec.positions}", text)


def _size(key: Key, encoding: Encoding) -> int:
    # Python keeps a text in one, two or four bytes a character.
    each_term = 8 if encoding.positions is None else 10
    return _OVERHEAD + 4 * len(key.text) + each_term * len(encoding.vector)
