"""Text to sparse vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from sparsegate import _replies, _requests
from sparsegate._sync.connection import Connection
from sparsegate.results import EncodeResult, TokenizeResult
from sparsegate.types import CallOptions, EncodeMode, OnTruncation


class EncodeCalls(Connection):
    def encode(
        self,
        texts: Sequence[str],
        *,
        mode: EncodeMode,
        model: str = "",
        top_k: int | None = None,
        threshold: float | None = None,
        with_terms: bool = False,
        on_truncation: OnTruncation = "flag",
        **options: Unpack[CallOptions],
    ) -> EncodeResult:
        """Encodes texts. A refused text is an error in its place and does not fail the others.

        Args:
            texts: what to encode.
            mode: `query` for what to search with, `document` for what is to be found.
            model: name of a served model; empty means the only one.
            top_k: keep only this many terms with the greatest weights.
            threshold: keep only terms whose weight is above it.
            with_terms: also return the vocabulary's strings.
            on_truncation: `flag` encodes the beginning of a text that is too long and says so;
                `error` refuses it.

        Raises:
            InvalidArgument: no texts, too many, or a bad argument.
            NotFound: no such model.
            SparsegateError: any other failure of the whole call.
        """
        request = _requests.encode(texts, mode, model, top_k, threshold, with_terms, on_truncation)
        return _replies.encode(self._call(self._encoder.Encode, request, options))

    def tokenize(
        self, texts: Sequence[str], *, model: str = "", **options: Unpack[CallOptions]
    ) -> TokenizeResult:
        """Shows the tokens that the model would read.

        Raises:
            InvalidArgument: no texts, or too many.
            NotFound: no such model.
            SparsegateError: any other failure.
        """
        request = _requests.tokenize(texts, model)
        return _replies.tokenize(self._call(self._encoder.Tokenize, request, options))
