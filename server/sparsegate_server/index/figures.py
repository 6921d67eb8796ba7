"""A collection in numbers, as of its newest view."""

from __future__ import annotations

from pathlib import Path

from sparsegate_server.filters import FieldKind
from sparsegate_server.index import recovery
from sparsegate_server.index.contents import Contents
from sparsegate_server.index.segment import Segment
from sparsegate_server.index.store.database import Store
from sparsegate_server.index.values import Size
from sparsegate_server.operations import Counts


class Figures:
    """Args:
    folder: of the collection.
    """

    def __init__(self, folder: Path, contents: Contents, store: Store) -> None:
        self._folder = folder
        self._contents = contents
        self._store = store

    def size(self) -> Size:
        """Looks at the files."""
        view = self._contents.published.view
        counts = self.counts()
        return Size(
            view.sequence,
            view.documents,
            counts.segments,
            sum(part.rows for part in view.parts if not isinstance(part, Segment)),
            sum(part.stored_weights for part in view.parts),
            sum(part.rows for part in view.parts) - view.documents,
            recovery.index_bytes(self._folder),
            self._store.bytes(),
        )

    def counts(self) -> Counts:
        """What is cheap to know, without waiting for anything."""
        view = self._contents.published.view
        segments = sum(isinstance(part, Segment) for part in view.parts)
        return Counts(view.sequence, view.documents, segments)

    def indexes(self) -> dict[str, tuple[FieldKind, bool]]:
        """Declared payload indexes, and whether they are ready."""
        with self._contents.lock:
            ready = self._contents.published.view.indexes
            return {
                name: (kind, ready.get(name) is kind)
                for name, kind in sorted(self._contents.indexes.items())
            }
