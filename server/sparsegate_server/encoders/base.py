"""What every encoder offers: texts in, one representation or one error per text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

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
    """

    vector: SparseVector
    tokens_used: int
    truncated: bool
    capped: bool


@dataclass(slots=True)
class EncodeTimings:
    """Seconds by stage, added up by the encoder while it works.

    `queue` and `infer` are those of the slowest batch, because batches run side by side.
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
        timeout: float | None = None,
    ) -> list[Encoding | SparsegateError]:
        """Encodes texts; the result has one item per text, in order.

        An item is an error when that text alone cannot be encoded (BlankText, NoKnownTokens,
        TextTooLong).

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
