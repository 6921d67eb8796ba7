"""An encoder in service, which can be taken out of service without failing what it has begun."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

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


class ServedEncoder:
    """An encoder that knows whether anybody is using it. Belongs to one event loop."""

    def __init__(self, encoder: Encoder) -> None:
        self.spec = encoder.spec
        self._encoder = encoder
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._refusal: SparsegateError | None = None

    async def encode(
        self,
        texts: Sequence[str],
        mode: Mode,
        *,
        on_truncation: OnTruncation = OnTruncation.FLAG,
        timings: EncodeTimings | None = None,
        caller: Caller = NOBODY,
    ) -> list[Encoding | SparsegateError]:
        """See `Encoder.encode`.

        Raises:
            SparsegateError: also what `refuse` was told.
        """
        if self._refusal is not None:
            # It may be raised many times.
            raise self._refusal.with_traceback(None)
        self._running += 1
        self._idle.clear()
        try:
            return await self._encoder.encode(
                texts, mode, on_truncation=on_truncation, timings=timings, caller=caller
            )
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def tokenize(self, texts: Sequence[str]) -> list[Tokenized]:
        return await self._encoder.tokenize(texts)

    def term(self, term_id: int) -> str:
        return self._encoder.term(term_id)

    def refuse(self, error: SparsegateError | None) -> None:
        """From now on nothing more is encoded, for this reason; or all is again, for none."""
        self._refusal = error

    async def idle(self) -> None:
        """Returns when nothing that was begun is under way any more."""
        while self._running:
            await self._idle.wait()
