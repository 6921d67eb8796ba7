"""Where a request's time goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sparsegate_server.encoders.base import EncodeTimings


@dataclass(slots=True)
class Timings:
    """Seconds by stage of one request; stages that did not run stay zero."""

    encode: EncodeTimings = field(default_factory=EncodeTimings)
    search: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def searching(self) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.search += time.perf_counter() - begin

    def stages(self) -> dict[str, float]:
        return {
            "tokenize": self.encode.tokenize,
            "queue": self.encode.queue,
            "infer": self.encode.infer,
            "search": self.search,
        }

    def total(self) -> float:
        return time.perf_counter() - self.started
