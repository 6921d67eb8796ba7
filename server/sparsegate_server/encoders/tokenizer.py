"""The model's own tokenizer, made safe for text from outside."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from sparsegate_server.encoders.base import Token, Tokenized
from sparsegate_server.errors import ModelSourceError, UnknownTerm
from sparsegate_server.models.spec import TOKENIZER_FILE, ModelSpec


@dataclass(frozen=True, slots=True)
class TokenIds:
    """What the model reads of one text.

    Attributes:
        ids: int32 [length], special tokens included.
        empty: whether nothing but special tokens is left of the text.
        known: whether at least one wordpiece is in the vocabulary.
        truncated: whether the text had more tokens than the model takes.
    """

    ids: NDArray[np.int32]
    empty: bool
    known: bool
    truncated: bool


class ModelTokenizer:
    """Both methods release the GIL while they split, and are meant to be called in a thread.

    The name of a special token inside a text (`[MASK]`) is ordinary text.

    Raises:
        ModelSourceError: the folder's tokenizer is missing, altered, or too large for the model.
    """

    def __init__(self, folder: Path, spec: ModelSpec) -> None:
        file = folder / TOKENIZER_FILE
        if not file.is_file():
            raise ModelSourceError(
                f"{file} does not exist: export the model with `sparsegate-server model export`"
            )
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != spec.identity.tokenizer_sha256:
            raise ModelSourceError(
                f"{file} is not the tokenizer that {spec.name!r} was exported with: export it again"
            )
        try:
            tokenizer = Tokenizer.from_buffer(content)
        # The Rust library raises no narrower type.
        except Exception as error:
            raise ModelSourceError(f"{file} cannot be read: {error}") from error
        self._vocabulary_size = spec.identity.vocabulary_size
        if tokenizer.get_vocab_size() > self._vocabulary_size:
            raise ModelSourceError(
                f"{file} has {tokenizer.get_vocab_size()} tokens, the model only "
                f"{self._vocabulary_size}"
            )
        tokenizer.no_padding()
        tokenizer.enable_truncation(spec.identity.max_length)
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self._specials = tokenizer.num_special_tokens_to_add(is_pair=False)
        unknown = getattr(tokenizer.model, "unk_token", None)
        self._unknown = None if unknown is None else tokenizer.token_to_id(unknown)

    def encode(self, texts: Sequence[str]) -> list[TokenIds]:
        """What the model reads of each text."""
        return [self._ids(each) for each in self._tokenizer.encode_batch_fast(list(texts))]

    def tokenize(self, texts: Sequence[str]) -> list[Tokenized]:
        """The wordpieces of each text and the characters that they stand for."""
        return [
            Tokenized(
                tuple(
                    Token(id, token, start, end)
                    for id, token, (start, end) in zip(
                        each.ids, each.tokens, each.offsets, strict=True
                    )
                ),
                truncated=bool(each.overflowing),
            )
            for each in self._tokenizer.encode_batch(list(texts))
        ]

    def term(self, term_id: int) -> str:
        """Raises UnknownTerm outside the vocabulary."""
        known = 0 <= term_id < self._vocabulary_size
        token = self._tokenizer.id_to_token(term_id) if known else None
        if token is None:
            raise UnknownTerm(
                f"term id {term_id} is outside the vocabulary of {self._vocabulary_size} terms"
            )
        return str(token)

    def _ids(self, encoding: Encoding) -> TokenIds:
        ids = encoding.ids
        return TokenIds(
            ids=np.array(ids, np.int32),
            empty=len(ids) <= self._specials,
            known=any(
                id != self._unknown and not special
                for id, special in zip(ids, encoding.special_tokens_mask, strict=True)
            ),
            truncated=bool(encoding.overflowing),
        )
