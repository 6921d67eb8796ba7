"""A collection's config as its store and its snapshots keep it: a dictionary of plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sparsegate_server.backends.base import CollectionConfig, Tier


def facts_of(config: CollectionConfig) -> dict[str, Any]:
    """The own model's facts lie flat beside the others, as they did before there were ladders."""
    facts = {
        "name": config.name,
        **asdict(config.own),
        "shards": config.shards,
        "keep_text": config.keep_text,
    }
    # A version that knows no ladders goes on reading collections without one, and no others.
    return {**facts, "ladder": [asdict(tier) for tier in config.ladder]} if config.ladder else facts


def config_from(facts: Mapping[str, Any], name: str) -> CollectionConfig:
    """The config of a collection that is called `name` now.

    Args:
        facts: of an older version, or a stranger's.

    Raises:
        ValueError: they are none.
    """
    rest = {**facts, "name": name}
    own = {key: rest.pop(key) for key in Tier.__slots__ if key in rest}
    ladder = rest.pop("ladder", [])
    try:
        return CollectionConfig(own=_tier(own), ladder=tuple(map(_tier, ladder)), **rest)
    except TypeError as error:
        raise ValueError(str(error)) from error


def _tier(facts: Mapping[str, Any]) -> Tier:
    tier = Tier(**facts)
    words = (tier.model, tier.fingerprint, tier.precision, tier.inference)
    if not all(isinstance(word, str) for word in words) or type(tier.vocabulary_size) is not int:
        raise ValueError("it describes no model")
    if tier.vocabulary_size <= 0 or not isinstance(tier.identity, dict | None):
        raise ValueError("it describes no model")
    return tier
