"""What a question looks like to the index: its text encoded by the first model of its collection's
ladder that can, or its own vector, checked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sparsegate_server.backends.base import CollectionConfig, IndexBackend, Tier
from sparsegate_server.encoders.base import Caller, Encoder, Encoding, Mode, OnTruncation
from sparsegate_server.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InferenceUnavailable,
    InvalidArgument,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    SparsegateError,
)
from sparsegate_server.search.encode import EncodePlan
from sparsegate_server.search.models import Execution, ServedModels
from sparsegate_server.search.timing import Timings
from sparsegate_server.search.vectors import RawVector
from sparsegate_server.types import SparseVector

_AWAY: Final = (
    DeadlineExceeded,
    InferenceFailed,
    InferenceUnavailable,
    ModelNotFound,
    Overloaded,
)
"""What keeps a model from encoding a good text just now. A model of another fingerprint than the
collection's is no outage: that is told, not passed over."""

_RESERVED_SHARE: Final = 0.25
_MOST_RESERVED: Final = 0.25
"""Share, and seconds at most, of the time until the deadline that are kept for the next tier."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to search for: a text, or a vector of the caller's own.

    Attributes:
        tier: of the collection's ladder; None takes the first that can answer, or for a vector the
            one whose fingerprint it bears.
    """

    collection: str
    content: str | RawVector
    on_truncation: OnTruncation = OnTruncation.FLAG
    tier: int | None = None


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A model that could not encode a question, and why."""

    model: str
    error: SparsegateError


@dataclass(frozen=True, slots=True)
class Resolved:
    """A query as the index sees it, and what the reply must name about its text.

    `execution` is how the model ran that encoded it, `text` and `encoding` what it was given and
    gave; None where the query came as a vector. So is `encoder` where the model is not served then.
    `passed_over` are the tiers before `tier`, where those were asked in vain.
    """

    vector: SparseVector
    encoder: Encoder | None
    config: CollectionConfig
    truncated: bool = False
    capped: bool = False
    execution: Execution | None = None
    text: str | None = None
    encoding: Encoding | None = None
    tier: int = 0
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def answering(self) -> Tier:
        """The model whose vectors are searched."""
        return self.config.tiers[self.tier]

    def term(self, term_id: int) -> str:
        """The vocabulary's string for a term id; "" where the model is not served."""
        return "" if self.encoder is None else self.encoder.term(term_id)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A text of a batch, at its place there, that a tier is to encode.

    Attributes:
        last: whether no tier comes after it.
    """

    at: int
    text: str
    on_truncation: OnTruncation
    config: CollectionConfig
    tier: int
    last: bool
    passed_over: tuple[PassedOver, ...] = ()

    def next(self, error: SparsegateError) -> _Attempt:
        """Of the tier below, because of this error."""
        tiers, tier = self.config.tiers, self.tier + 1
        passed_over = (*self.passed_over, PassedOver(tiers[self.tier].model, error))
        return replace(self, tier=tier, last=tier + 1 == len(tiers), passed_over=passed_over)


class Resolver:
    def __init__(self, models: ServedModels, backend: IndexBackend, encode: EncodePlan) -> None:
        self._models = models
        self._backend = backend
        self._encode = encode

    async def resolve(
        self, queries: Sequence[Query | SparsegateError], timings: Timings, caller: Caller
    ) -> list[Resolved | SparsegateError]:
        """Vectors are checked, texts of one model are encoded together; items that are errors
        already stay so. Where no tier can encode a text, the error is that of the first."""
        outcomes: dict[int, Resolved | SparsegateError] = {}
        waiting: list[_Attempt] = []
        for at, query in enumerate(queries):
            if isinstance(query, SparsegateError):
                outcomes[at] = query
                continue
            try:
                begun = self._begun(at, query, self._backend.config(query.collection))
            except SparsegateError as error:
                outcomes[at] = error
                continue
            if isinstance(begun, Resolved):
                outcomes[at] = begun
            else:
                waiting.append(begun)
        while waiting:
            waiting = await self._attempt(waiting, outcomes, timings, caller)
        return [outcomes[at] for at in range(len(queries))]

    def _begun(self, at: int, query: Query, config: CollectionConfig) -> Resolved | _Attempt:
        if query.tier is not None and query.tier > len(config.ladder):
            raise InvalidRequest(
                f"{query.tier} is none of the tiers of {config.name!r}, 0 to {len(config.ladder)}",
                field="tier",
            )
        if isinstance(query.content, RawVector):
            number = _tier_of(query.content, config) if query.tier is None else query.tier
            tier = config.tiers[number]
            vector = query.content.accept(tier, self._models)
            return Resolved(vector, self._models.knowing(tier), config, tier=number)
        last = query.tier is not None or not config.ladder
        tier_number = query.tier or 0
        return _Attempt(at, query.content, query.on_truncation, config, tier_number, last)

    async def _attempt(
        self,
        attempts: Sequence[_Attempt],
        outcomes: dict[int, Resolved | SparsegateError],
        timings: Timings,
        caller: Caller,
    ) -> list[_Attempt]:
        """Adds what came of the attempts; returns those that the next tiers are to make."""
        further: list[_Attempt] = []

        def settle(attempt: _Attempt, outcome: Resolved | SparsegateError) -> None:
            if isinstance(outcome, _AWAY) and not attempt.last:
                further.append(attempt.next(outcome))
            elif isinstance(outcome, SparsegateError) and attempt.passed_over:
                outcomes[attempt.at] = attempt.passed_over[0].error
            else:
                outcomes[attempt.at] = outcome

        together: dict[tuple[Encoder, OnTruncation, bool], list[_Attempt]] = {}
        for each in attempts:
            try:
                encoder = self._models.of_tier(each.config.tiers[each.tier])
            except SparsegateError as error:
                settle(each, error)
                continue
            together.setdefault((encoder, each.on_truncation, each.last), []).append(each)
        for (encoder, on_truncation, last), same in together.items():
            texts = [each.text for each in same]
            until = caller if last else _earlier(caller)
            encoded = await self._encoded(encoder, texts, on_truncation, timings, until)
            execution = self._models.execution(encoder)
            for each, item in zip(same, encoded, strict=True):
                settle(each, _resolved(each, item, encoder, execution))
        return further

    async def _encoded(
        self,
        encoder: Encoder,
        texts: Sequence[str],
        on_truncation: OnTruncation,
        timings: Timings,
        caller: Caller,
    ) -> Sequence[Encoding | SparsegateError]:
        """An error that stops the whole encoder becomes the error of each of these queries, so that
        those of other models, or with vectors of their own, are still answered."""
        try:
            return await self._encode.run(
                encoder,
                texts,
                Mode.QUERY,
                on_truncation=on_truncation,
                timings=timings.encode,
                caller=caller,
            )
        except SparsegateError as error:
            return [error] * len(texts)


def _tier_of(vector: RawVector, config: CollectionConfig) -> int:
    """The tier whose fingerprint a vector bears; the own model's where it bears none of theirs."""
    prints = [tier.fingerprint for tier in config.tiers]
    return prints.index(vector.fingerprint) if vector.fingerprint in prints else 0


def _earlier(caller: Caller) -> Caller:
    """The same caller with a deadline that leaves the next tier some time."""
    if caller.deadline is None:
        return caller
    left = caller.deadline - asyncio.get_running_loop().time()
    return replace(caller, deadline=caller.deadline - min(left * _RESERVED_SHARE, _MOST_RESERVED))


def _resolved(
    attempt: _Attempt,
    item: Encoding | SparsegateError,
    encoder: Encoder,
    execution: Execution,
) -> Resolved | SparsegateError:
    if isinstance(item, SparsegateError):
        return item.under("text") if isinstance(item, InvalidArgument) else item
    return Resolved(
        item.vector,
        encoder,
        attempt.config,
        item.truncated,
        item.capped,
        execution,
        attempt.text,
        item,
        attempt.tier,
        attempt.passed_over,
    )
