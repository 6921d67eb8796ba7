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
    Found,
    SearchOptions,
    SearchResult,
    Selection,
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
        own = vector.within(self._terms(tier))
        return SparseVector(own.indices - np.uint32(self._bounds[tier]), own.values)

    def selecting(self, select: Selection, tier: int) -> Selection:
        """The same parts of documents, but one tier's vectors: the index counts and returns no
        other weights. Those of the own model are as they should be then."""
        if self._single or not select.vector:
            return select
        return replace(select, terms=self._terms(tier))

    def asked(
        self, query: SparseVector, options: SearchOptions
    ) -> tuple[SparseVector, SearchOptions]:
        """A search as the index takes it."""
        select = self.selecting(options.select, options.tier)
        if select is not options.select:
            options = replace(options, select=select)
        return self.placed(query, options.tier), options

    def result(self, found: SearchResult, tier: int) -> SearchResult:
        """What a search that was `asked` so has found, with the term ids of its tier."""
        if not tier:
            return found
        return replace(
            found,
            query=self.part(found.query, tier),
            documents=tuple(self._found(each, tier) for each in found.documents),
        )

    def standing(self, standing: Standing, tier: int) -> Standing:
        """The same in a tier, with the term ids and the weights of its own."""
        if self._single:
            return standing
        bar = standing.bar_vector
        return replace(
            standing,
            query=self.part(standing.query, tier),
            vector=self.part(standing.vector, tier),
            bar_vector=bar and self.part(bar, tier),
        )

    def _terms(self, tier: int) -> range:
        """A tier's term ids in the index."""
        return range(self._bounds[tier], self._bounds[tier + 1])

    def _found(self, document: Found, tier: int) -> Found:
        if document.vector is None:
            return document
        return replace(document, vector=self.part(document.vector, tier))
