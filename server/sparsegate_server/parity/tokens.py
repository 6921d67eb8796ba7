"""A test collection as a model reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparsegate_server.encoders.tokenizer import ModelTokenizer
from sparsegate_server.errors import ModelSourceError
from sparsegate_server.parity.texts import TextSet
from sparsegate_server.parity.vectors import Ids

_LEAST_KNOWN = 0.5
"""Share of the texts that a model must know a part of, to be compared on them."""


@dataclass(frozen=True, eq=False, slots=True)
class TokenSet:
    """Attributes:
    documents: tokens of each document, int32 [n].
    queries: tokens of each query, int32 [n].
    relevant: for each query, the grade of each relevant document by its position.
    """

    documents: list[Ids]
    queries: list[Ids]
    relevant: list[Mapping[int, float]]


def tokenized(texts: TextSet, tokenizer: ModelTokenizer) -> TokenSet:
    """The texts that the model knows a part of, and the queries of which that leaves a document.

    Raises:
        ModelSourceError: too few are left.
    """
    documents = _known(tokenizer, texts.documents)
    queries = _known(tokenizer, texts.queries)
    place = {at: index for index, at in enumerate(documents)}
    relevant = {
        at: {place[id]: grade for id, grade in texts.relevant[at].items() if id in place}
        for at in queries
    }
    asked = [at for at in queries if relevant[at]]
    for left, all_texts in ((documents, texts.documents), (asked, texts.queries)):
        if len(left) < _LEAST_KNOWN * len(all_texts):
            strange = len(all_texts) - len(left)
            raise ModelSourceError(
                f"the model knows no part of {strange} of {len(all_texts)} texts of {texts.name}: "
                "name a BEIR folder in its own language with --data"
            )
    return TokenSet(
        list(documents.values()), [queries[at] for at in asked], [relevant[at] for at in asked]
    )


def _known(tokenizer: ModelTokenizer, texts: Sequence[str]) -> dict[int, Ids]:
    """Tokens by position of the text, of those that the gateway would encode."""
    found = enumerate(tokenizer.encode(texts))
    return {at: each.ids for at, each in found if each.known and not each.empty}
