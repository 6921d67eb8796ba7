"""Traces the terms of a query and of a document back to the tokens of their texts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.backends.base import CollectionConfig, IndexBackend
from sparsegate_server.encoders.base import Caller, Encoder, Encoding, Mode, OnTruncation
from sparsegate_server.errors import (
    InferenceFailed,
    InvalidArgument,
    ModelNotFound,
    Overloaded,
    SparsegateError,
    Unavailable,
)
from sparsegate_server.operations import Selection
from sparsegate_server.search.encode import EncodePlan
from sparsegate_server.search.sources import Sources, SourceState, agreeing, sources_of
from sparsegate_server.search.timing import Timings
from sparsegate_server.types import DocumentId, SparseVector

_WITHOUT = (InferenceFailed, ModelNotFound, Overloaded, Unavailable)
"""What keeps a text from being encoded now, and is no reason to refuse the rest of a reply."""


async def trace_query(
    encoder: Encoder | None, text: str | None, encoding: Encoding | None
) -> Sources:
    """The sources of a query's terms; None where it came as a vector."""
    if encoder is None or text is None or encoding is None:
        return Sources(SourceState.NO_TEXT)
    if encoding.positions is None:
        return Sources(SourceState.NO_POSITIONS)
    (tokenized,) = await encoder.tokenize([text])
    tokens = sources_of(text, tokenized, encoding.vector.indices, encoding.positions)
    return Sources(SourceState.KNOWN, tokens)


class DocumentTracer:
    """Stored vectors do not say where their terms came from: a document's text is encoded again,
    and what comes out as it is stored came from the token that it comes from now."""

    def __init__(self, backend: IndexBackend, encode: EncodePlan) -> None:
        self._backend = backend
        self._encode = encode

    async def trace(
        self,
        encoder: Encoder | None,
        config: CollectionConfig,
        id: DocumentId,
        stored: SparseVector,
        wanted: NDArray[np.uint32],
        *,
        timings: Timings,
        caller: Caller,
    ) -> Sources:
        """The sources of a document's terms.

        Args:
            encoder: of the model that made `stored`; None where it is not served.
            stored: the document's vector.
            wanted: terms to look for.

        Raises:
            DeadlineExceeded, CollectionNotFound
        """
        if encoder is None:
            return Sources(SourceState.UNAVAILABLE)
        if not encoder.spec.positions:
            return Sources(SourceState.NO_POSITIONS)
        text = await self._text(config, id)
        if text is None:
            return Sources(SourceState.NO_TEXT)
        made = await self._made(encoder, text, timings, caller)
        if not isinstance(made, Encoding):
            own = isinstance(made, InvalidArgument)
            return Sources(SourceState.OTHER_VECTOR if own else SourceState.UNAVAILABLE)
        if made.positions is None:
            return Sources(SourceState.NO_POSITIONS)
        agreed, whole = agreeing(stored, made.vector)
        terms = np.intersect1d(agreed, wanted)
        positions = made.positions[np.searchsorted(made.vector.indices, terms)]
        (tokenized,) = await encoder.tokenize([text])
        state = SourceState.KNOWN if whole else SourceState.OTHER_VECTOR
        return Sources(state, sources_of(text, tokenized, terms, positions))

    async def _text(self, config: CollectionConfig, id: DocumentId) -> str | None:
        """None where nothing is kept, or nothing any more."""
        if not config.keep_text:
            return None
        found = await self._backend.get(config.name, [id], select=Selection(text=True))
        (document,) = found.documents
        return None if document is None else document.text

    async def _made(
        self, encoder: Encoder, text: str, timings: Timings, caller: Caller
    ) -> Encoding | SparsegateError:
        """What the model makes of the text now, or why it makes nothing."""
        try:
            (made,) = await self._encode.run(
                encoder,
                [text],
                Mode.DOCUMENT,
                on_truncation=OnTruncation.FLAG,
                timings=timings.encode,
                caller=caller,
            )
        except _WITHOUT as error:
            return error
        return made
