"""What every encoder offers: texts in, one representation or one error per text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sparsegate_server.errors import SparsegateError
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.types import SparseVector


class Mode(Enum):
    """Some families encode queries otherwise than documents; SPLADE++ encodes both alike."""

    QUERY = "query"
    DOCUMENT = "document"


class OnTruncation(Enum):
    FLAG = "flag"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Token:
    """One wordpiece and the characters that it stands for (`text[start:end]`)."""

    id: int
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A text as the model sees it.

    Attributes:
        tokens: special tokens included, at most the model's maximum length.
        truncated: whether the text had more tokens than the model takes.
    """

    tokens: tuple[Token, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Encoding:
    """A text's representation.

    Attributes:
        vector: its weighted terms.
        tokens_used: tokens that the model read, special tokens included.
        truncated: whether the text was longer than that.
        capped: whether terms were dropped because the vector reached `max_terms`.
        positions: uint16, for each term of the vector the token that caused it; None where the
            model does not say.
    """

    vector: SparseVector
    tokens_used: int
    truncated: bool
    capped: bool
    positions: NDArray[np.uint16] | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom work is done.

    Attributes:
        client: who shares fairly with others; the same for all requests of one client.
        deadline: on time.monotonic's clock, which is the event loop's as well; None for none.
    """

    client: str = ""
    deadline: float | None = None


NOBODY = Caller()
"""No client in particular, and no deadline."""


@dataclass(slots=True)
class EncodeTimings:
    """Seconds by stage, added up by the encoder while it works.

    `queue` and `infer` are those of the slowest batch, because batches run side by side. `batches`
    has the texts of every batch that one of the request's texts was in, others' texts included.
    """

    tokenize: float = 0.0
    queue: float = 0.0
    infer: float = 0.0
    batches: list[int] = field(default_factory=list)


class Encoder(Protocol):
    spec: ModelSpec

    async def encode(
        self,
        texts: Sequence[str],
        mode: Mode,
        *,
        on_truncation: OnTruncation = OnTruncation.FLAG,
        timings: EncodeTimings | None = None,
        caller: Caller = NOBODY,
    ) -> list[Encoding | SparsegateError]:
        """Encodes texts; the result has one item per text, in order.

        An item is an error when that text alone cannot be encoded (BlankText, NoKnownTokens,
        TextTooLong, or InferenceFailed where the graph failed on it and not on the others).

        Raises:
            InferenceUnavailable, InferenceFailed, DeadlineExceeded, ModelNotFound: as the
                inference backend does; then no text was encoded.
        """
        ...

    async def tokenize(self, texts: Sequence[str]) -> list[Tokenized]:
        """Splits texts into the model's tokens, truncated to its maximum length."""
        ...

    def term(self, term_id: int) -> str:
        """The vocabulary's string for a term id.

        Raises:
            UnknownTerm: outside the vocabulary.
        """
        ...
