"""The tiers of a collection in one index, each with a range of term ids of its own.

A document's vectors are laid end to end: term t of a tier is term t + start, where its range starts
behind those of the tiers before it. A question has terms of one range only, so that it meets the
postings of one tier, and scores as it would in an index of that tier alone: the products are the
same, in the same order. One write changes all tiers of a document, or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from sparsegate_server.operations import (
    Document,
    Fetched,
    Found,
    Page,
    SearchResult,
    Standing,
)
from sparsegate_server.types import SparseVector


class TermRanges:
    """Args:
    sizes: of the tiers' vocabularies, the own one first.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._bounds = (0, *accumulate(sizes))
        self._single = len(sizes) == 1

    @property
    def total(self) -> int:
        """Number of terms of all tiers."""
        return self._bounds[-1]

    def joined(self, document: Document) -> Document:
        """The document with one vector that has those of all tiers in it."""
        if self._single:
            return document
        parts = [
            self.placed(vector, tier)
            for tier, vector in enumerate((document.vector, *document.ladder))
        ]
        indices = np.concatenate([part.indices for part in parts])
        values = np.concatenate([part.values for part in parts])
        return replace(document, vector=SparseVector(indices, values), ladder=())

    def placed(self, vector: SparseVector, tier: int) -> SparseVector:
        """A tier's vector with the term ids that it has in the index."""
        if not tier:
            return vector
        return SparseVector(vector.indices + np.uint32(self._bounds[tier]), vector.values)

    def part(self, vector: SparseVector, tier: int) -> SparseVector:
        """A tier's own vector, of one with the term ids of the index."""
        if self._single:
            return vector
        low, high = self._bounds[tier], self._bounds[tier + 1]
        start, end = np.searchsorted(vector.indices, (low, high))
        return SparseVector(vector.indices[start:end] - np.uint32(low), vector.values[start:end])

    def fetched(self, read: Fetched) -> Fetched:
        if self._single:
            return read
        return replace(
            read, documents=tuple(each and self._found(each, 0) for each in read.documents)
        )

    def page(self, read: Page) -> Page:
        if self._single:
            return read
        return replace(read, documents=tuple(self._found(each, 0) for each in read.documents))

    def result(self, found: SearchResult, tier: int) -> SearchResult:
        if self._single:
            return found
        return replace(
            found,
            query=self.part(found.query, tier),
            documents=tuple(self._found(each, tier) for each in found.documents),
        )

    def standing(self, standing: Standing, tier: int) -> Standing:
        if self._single:
            return standing
        bar = standing.bar_vector
        return replace(
            standing,
            query=self.part(standing.query, tier),
            vector=self.part(standing.vector, tier),
            bar_vector=bar and self.part(bar, tier),
        )

    def _found(self, document: Found, tier: int) -> Found:
        if document.vector is None:
            return document
        return replace(document, vector=self.part(document.vector, tier))
