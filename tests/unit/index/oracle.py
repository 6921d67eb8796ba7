"""The slow truth: a dictionary of documents, plain loops, no kernel and no index."""

from __future__ import annotations

import numpy as np

from sparsegate_server.types import DocumentId, SparseVector

Vector = dict[int, float]
"""Term ids and weights that a float32 holds exactly."""


def sparse(vector: Vector) -> SparseVector:
    terms = sorted(vector)
    return SparseVector(
        np.array(terms, np.uint32), np.array([vector[term] for term in terms], np.float32)
    )


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
    documents: dict[DocumentId, Vector], query: Vector, limit: int
) -> list[tuple[DocumentId, float]]:
    scored = [(key, score(query, vector)) for key, vector in documents.items()]
    hits = [(key, value) for key, value in scored if value is not None]
    return sorted(hits, key=lambda hit: (-hit[1], order(hit[0])))[:limit]
