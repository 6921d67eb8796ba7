"""A drawn life of a collection: its requests, the work between them, and what must come of it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np

from sparsegate_server.filters import FieldKind, Filter, Match
from sparsegate_server.operations import Document, PayloadChange, PayloadMode
from sparsegate_server.types import DocumentId, SparseVector

VOCABULARY = 40
SHARDS = 2
FIELDS = {"group": FieldKind.KEYWORD, "number": FieldKind.NUMBER}

Documents = dict[DocumentId, Document]


@dataclass(frozen=True, slots=True)
class Upsert:
    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    target: tuple[DocumentId, ...] | Filter


@dataclass(frozen=True, slots=True)
class SetPayload:
    target: tuple[DocumentId, ...] | Filter
    change: PayloadChange


@dataclass(frozen=True, slots=True)
class CreateIndex:
    field: str


@dataclass(frozen=True, slots=True)
class Tidy:
    """No request: seal, merge, build columns."""


Request = Upsert | Delete | SetPayload | CreateIndex


@dataclass(frozen=True, slots=True)
class State:
    """What a collection holds after some requests."""

    documents: Documents
    fields: frozenset[str] = frozenset()


def life(requests: int, seed: int = 7) -> list[Request | Tidy]:
    """So many requests, each of which changes something, with tidying up after every few."""
    draw = random.Random(seed)  # noqa: S311
    steps: list[Request | Tidy] = []
    state = State({})
    for number in range(requests):
        request = _request(draw, number)
        while isinstance(request, Delete | SetPayload) and not matching(
            state.documents, request.target
        ):
            request = _request(draw, number)
        state = _after(state, request)
        steps.append(request)
        if number % 4 == 3:
            steps.append(Tidy())
    return steps


def states(steps: list[Request | Tidy]) -> list[State]:
    """What holds before the first request and after each."""
    found = [State({})]
    for step in steps:
        if not isinstance(step, Tidy):
            found.append(_after(found[-1], step))
    return found


def matching(documents: Documents, target: tuple[DocumentId, ...] | Filter) -> list[DocumentId]:
    if isinstance(target, tuple):
        return [each for each in dict.fromkeys(target) if each in documents]
    (condition,) = target.must
    assert isinstance(condition, Match)
    (value,) = condition.values
    return [key for key, each in documents.items() if each.payload.get(condition.field) == value]


def group(number: int) -> Filter:
    """Documents of one of a few groups."""
    return Filter(must=(Match("group", (f"g{number}",)),))


def _request(draw: random.Random, number: int) -> Request:
    if number in {3, 30}:
        return CreateIndex("group" if number == 3 else "number")
    kind = draw.random()
    if kind < 0.6 or number < 3:
        return Upsert(tuple(_document(draw, number) for _ in range(draw.randint(1, 6))))
    if kind < 0.75:
        return Delete(tuple(_id(draw) for _ in range(draw.randint(1, 4))))
    if kind < 0.8:
        return Delete(group(draw.randrange(8)))
    change = PayloadChange(PayloadMode.MERGE, {"number": -number, "changed": True})
    if kind < 0.9:
        return SetPayload(tuple(_id(draw) for _ in range(draw.randint(1, 4))), change)
    return SetPayload(group(draw.randrange(8)), change)


def _document(draw: random.Random, number: int) -> Document:
    terms = sorted(draw.sample(range(VOCABULARY), draw.randint(1, 8)))
    weights = [draw.randint(1, 160) / 32 for _ in terms]
    return Document(
        _id(draw),
        SparseVector(np.array(terms, np.uint32), np.array(weights, np.float32)),
        f"text of request {number} " + "word " * draw.randrange(60),
        {"group": f"g{draw.randrange(8)}", "number": number},
    )


def _id(draw: random.Random) -> DocumentId:
    number = draw.randrange(60)
    return number if draw.random() < 0.7 else str(number)


def _after(state: State, request: Request) -> State:
    documents = dict(state.documents)
    match request:
        case Upsert(upserted):
            documents.update({each.id: each for each in upserted})
        case Delete(target):
            for key in matching(documents, target):
                del documents[key]
        case SetPayload(target, change):
            for key in matching(documents, target):
                old = documents[key]
                documents[key] = replace(old, payload=change.of(old.payload))
        case CreateIndex(field):
            return replace(state, fields=state.fields | {field})
    return replace(state, documents=documents)
