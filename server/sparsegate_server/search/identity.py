"""Whether vectors come from a collection's own model, and if not, in what the two models differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, Final

from sparsegate_server.backends.base import Tier
from sparsegate_server.errors import FingerprintMismatch
from sparsegate_server.models.spec import Difference, ModelIdentity

_MOST_TOLD: Final = 3
"""Differences that a message names; it must stay short. The error's metadata has all of them."""

_LONGEST_TOLD: Final = 16
_LONGEST_LISTED: Final = 200
"""Characters of a value in a message, and in the metadata. A list of dropped terms may be long."""

_TYPICAL: Final = ModelIdentity("splade", "", "", 1)
_MOST: Final = 2**32
"""What a collection says may be a stranger's, restored from a snapshot: integers are below it."""


def identity_of(tier: Tier) -> ModelIdentity | None:
    """The identity of a model of a collection.

    None where the collection says none that has its fingerprint: an older version made it, or a
    newer one, whose models have fields that are not known here.
    """
    if tier.identity is None:
        return None
    try:
        identity = ModelIdentity.from_dict(tier.identity)
        sound = _well_typed(identity) and identity.fingerprint == tier.fingerprint
    except (TypeError, ValueError):
        return None
    return identity if sound else None


def mismatch(
    problem: str,
    tier: Tier,
    given: str,
    given_identity: ModelIdentity | None,
    *,
    remedy: str,
    field: str,
) -> FingerprintMismatch:
    """The error that names both fingerprints and what differs.

    Args:
        problem: what was given, up to its fingerprint.
        tier: the model of the collection that refuses it.
        given: fingerprint of another model than the collection's.
        given_identity: of that model; None where it is not known here.
        remedy: what to do.
        field: of the request.
    """
    metadata = {"given": given, "expected": tier.fingerprint}
    expected = identity_of(tier)
    if expected is None:
        told = "the collection does not say more about its model"
    elif given_identity is None:
        told = "no model of the former is served here to compare it with"
    else:
        told, metadata["differs"] = _compared(expected, given_identity)
    return FingerprintMismatch(
        f"{problem} {given}, but the collection holds vectors of {tier.fingerprint} ({told}): "
        f"{remedy}",
        field=field,
        metadata=metadata,
    )


@lru_cache(maxsize=64)
def _compared(expected: ModelIdentity, given: ModelIdentity) -> tuple[str, str]:
    """What differs, for people and as JSON; the same for all vectors of a request."""
    differences = expected.differences(given)
    return _told(differences), json.dumps([_listed(each) for each in differences])


def _told(differences: Sequence[Difference]) -> str:
    """The first few, as in `pooling sum instead of max`."""
    named = "; ".join(
        f"{each.field} {_brief(each.other)} instead of {_brief(each.own)}"
        for each in differences[:_MOST_TOLD]
    )
    more = len(differences) - _MOST_TOLD
    return f"{named}; and {more} more" if more > 0 else named


def _brief(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return _cut(text, _LONGEST_TOLD) or "none"


def _listed(difference: Difference) -> dict[str, object]:
    return {
        "field": difference.field,
        "given": _bounded(difference.other),
        "expected": _bounded(difference.own),
    }


def _bounded(value: object) -> object:
    text = json.dumps(value)
    return value if len(text) <= _LONGEST_LISTED else _cut(text, _LONGEST_LISTED)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _well_typed(identity: ModelIdentity) -> bool:
    """Whether every field has its type; JSON would take any."""
    return all(
        _like(getattr(identity, each.name), getattr(_TYPICAL, each.name))
        for each in fields(identity)
    )


def _like(value: Any, typical: object) -> bool:
    if isinstance(typical, tuple):
        return all(_like(each, 0) for each in value)
    if type(value) is not type(typical):
        return False
    return not isinstance(value, int) or 0 <= value < _MOST
