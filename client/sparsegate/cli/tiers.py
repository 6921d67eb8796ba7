"""The ladder of a collection on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from sparsegate.cli.output import complain
from sparsegate.results import AnsweringTier

Ladder = Annotated[
    list[str] | None,
    typer.Option(
        "--ladder",
        metavar="MODEL",
        help="Model that stands in while the one before it cannot encode a query; repeatable.",
    ),
]
Tier = Annotated[
    int | None,
    typer.Option(
        "--tier", help="Ask this tier of the collection's ladder only; 0 is its own model."
    ),
]


def tell_fallback(tier: AnsweringTier | None) -> None:
    """Says on stderr that another model answered than the collection's own, and why."""
    if tier is not None and tier.passed_over:
        why = "; ".join(f"{each.model}: {each.error.message}" for each in tier.passed_over)
        complain(f"{tier.model} answered, tier {tier.number} of the ladder ({why})")
