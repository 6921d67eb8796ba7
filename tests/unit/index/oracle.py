"""The slow truth: a dictionary of documents, plain loops, no kernel and no index."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from sparsegate_server.filters import Filter
from sparsegate_server.index.filter.match import matches
from sparsegate_server.operations import (
    Document,
    Found,
    PayloadChange,
    SearchOptions,
    Target,
)
from sparsegate_server.types import DocumentId, Payload, SparseVector

Vector = dict[int, float]
"""Term ids and weights that a float32 holds exactly."""

Ranking = list[tuple[DocumentId, float]]


class Stored(NamedTuple):
    vector: Vector
    text: str | None = None
    payload: Payload = {}  # noqa: RUF012 - nobody changes it


Model = dict[DocumentId, Stored]


def sparse(vector: Vector) -> SparseVector:
    terms = sorted(vector)
    return SparseVector(
        np.array(terms, np.uint32), np.array([vector[term] for term in terms], np.float32)
    )


def plain(vector: SparseVector) -> Vector:
    return dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True))


def order(document_id: DocumentId) -> tuple[int, int, bytes]:
    """Integers before strings, integers as numbers, strings by their UTF-8 bytes."""
    if isinstance(document_id, int):
        return (0, document_id, b"")
    return (1, 0, document_id.encode())


def score(query: Vector, document: Vector) -> float | None:
    """float32(Σ float64(q) · float64(d)) in ascending term id; None without a shared term."""
    shared = sorted(query.keys() & document.keys())
    if not shared:
        return None
    total = 0.0
    for term in shared:
        total += query[term] * document[term]
    return float(np.float32(total))


def search(
    documents: Mapping[DocumentId, Vector], query: Vector, limit: int | None = None
) -> Ranking:
    scored = [(key, score(query, vector)) for key, vector in documents.items()]
    hits = [(key, value) for key, value in scored if value is not None]
    return sorted(hits, key=lambda hit: (-hit[1], order(hit[0])))[:limit]


def with_idf(model: Model, query: Vector) -> Vector:
    """Each weight times ln(1 + (N - n + 0.5) / (n + 0.5)), rounded to float32, zeros left out."""
    weighted = {}
    for term, weight in query.items():
        having = sum(term in each.vector for each in model.values())
        factor = math.log(1 + (len(model) - having + 0.5) / (having + 0.5))
        weighted[term] = float(np.float32(weight * factor))
    return {term: weight for term, weight in weighted.items() if weight > 0}


def passing(model: Model, filter: Filter | None) -> Model:
    if filter is None:
        return model
    return {
        key: each for key, each in model.items() if matches(filter, key, each.text, each.payload)
    }


def ranking(model: Model, query: Vector, options: SearchOptions) -> Ranking:
    """All that match, pass and reach the threshold, whatever limit and offset are."""
    if options.idf:
        query = with_idf(model, query)
    vectors = {key: each.vector for key, each in passing(model, options.filter).items()}
    ranked = search(vectors, query)
    if options.threshold is None:
        return ranked
    return [(key, value) for key, value in ranked if value >= options.threshold]


def page(model: Model, query: Vector, options: SearchOptions) -> Ranking:
    """What the search returns."""
    return ranking(model, query, options)[options.offset : options.offset + options.limit]


def chosen(model: Model, target: Target) -> list[DocumentId]:
    """The documents that a write means."""
    if isinstance(target, Filter):
        return list(passing(model, target))
    return [key for key in dict.fromkeys(target) if key in model]


def upserted(model: Model, documents: Iterable[Document]) -> Model:
    return model | {
        each.id: Stored(plain(each.vector), each.text, each.payload) for each in documents
    }


def deleted(model: Model, target: Target) -> Model:
    gone = set(chosen(model, target))
    return {key: each for key, each in model.items() if key not in gone}


def changed(model: Model, target: Target, change: PayloadChange) -> Model:
    return model | {
        key: model[key]._replace(payload=change.of(model[key].payload))
        for key in chosen(model, target)
    }


def content(found: Found) -> Stored:
    """A document that was read whole."""
    assert found.vector is not None
    return Stored(plain(found.vector), found.text, found.payload)
