"""What a model is, in a few words."""

from __future__ import annotations

from typing import Any

from sparsegate.cli.output import plain
from sparsegate.types import Model, ModelIdentity

_SIDES = {
    "documents": "the documents' graph",
    "graph": "a graph of their own",
    "tokens": "their tokens alone",
}
_DIGITS = 12
"""Of a hash: enough to tell two models apart by eye."""


def identity_words(identity: ModelIdentity | None) -> str:
    """What a person tells models apart by, in one line; "" where the gateway does not tell."""
    if identity is None:
        return ""
    words = [
        identity.family,
        f"{identity.pooling} of {identity.activation}",
        f"queries by {_queries(identity)}",
        f"{identity.max_length:,} tokens",
        f"{identity.max_terms:,} terms",
    ]
    if identity.threshold:
        words.append(f"weights above {identity.threshold:g}")
    words.append(f"checkpoint {identity.weights_sha256[:_DIGITS]}")
    return ", ".join(words)


def model_facts(model: Model) -> dict[str, Any]:
    """Fields for a table: the model's own, then those that only its identity has."""
    facts: dict[str, Any] = plain(model)
    identity = facts.pop("identity")
    if model.identity:
        facts |= {name: value for name, value in identity.items() if name not in facts}
        facts["queries"] = _queries(model.identity)
        facts["dropped_terms"] = f"{len(model.identity.dropped_terms):,}"
    return facts


def _queries(identity: ModelIdentity) -> str:
    return _SIDES.get(identity.queries, identity.queries)
