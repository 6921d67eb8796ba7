"""How a checkpoint's logits become weights: what its own files say, and what the user says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sparsegate_server.models.checkpoint import Checkpoint
from sparsegate_server.models.spec import Activation, Family, ModelIdentity, Pooling

_ACTIVATIONS: dict[str, Activation] = {"relu": "log1p", "log1p_relu": "log1p-twice"}
"""By sentence-transformers' name of what comes before the last logarithm."""


class FamilyChoice(StrEnum):
    """The families that a user can name; the variants of SPLADE are told apart by their pooling."""

    SPLADE = "splade"
    SPLADE_MAX = "splade-max"
    SPLADE_SUM = "splade-sum"
    SPLADE_DOC = "splade-doc"


@dataclass(frozen=True, slots=True)
class Recipe:
    """All but the tensors that decides a vector.

    Attributes:
        family: as the identity names it.
        pooling: how tokens are joined.
        activation: what a logit goes through.
        drop_special: whether special tokens are left out of vectors.
    """

    family: Family = "splade"
    pooling: Pooling = "max"
    activation: Activation = "log1p"
    drop_special: bool = False


def recipe_of(
    checkpoint: Checkpoint,
    *,
    family: FamilyChoice | None = None,
    activation: Activation | None = None,
    drop_special: bool | None = None,
) -> Recipe:
    """The recipe of a checkpoint; what is None follows from its files.

    A checkpoint that weighs the tokens of queries is a `splade-doc`; pooling and activation are
    those that it states, else SPLADE v2's. Special tokens are dropped by `splade-doc`, whose
    queries never have them.
    """
    stated = checkpoint.pooling
    pooling: Pooling = "max" if stated is None else stated.strategy
    own: Activation = "log1p" if stated is None else _ACTIVATIONS[stated.activation]
    match family:
        case None:
            kind: Family = "splade" if checkpoint.query_weights is None else "splade-doc"
        case FamilyChoice.SPLADE:
            kind = "splade"
        case FamilyChoice.SPLADE_MAX:
            kind, pooling = "splade", "max"
        case FamilyChoice.SPLADE_SUM:
            kind, pooling = "splade", "sum"
        case FamilyChoice.SPLADE_DOC:
            kind = "splade-doc"
    if drop_special is None:
        drop_special = kind == "splade-doc"
    return Recipe(kind, pooling, activation or own, drop_special)


def family_of(identity: ModelIdentity) -> str:
    """The family as a user names it, with its pooling where that is not the usual one."""
    if identity.pooling == "sum":
        return f"{identity.family}-sum"
    return identity.family
