"""The background scrub: reads every file of an index, and every document of its store, once in a
while and compares their checksums, so that a rotten disk is noticed before a search believes it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sparsegate_server.errors import CorruptIndex, CorruptStore
from sparsegate_server.index import segment_file
from sparsegate_server.index.files.container import Damaged
from sparsegate_server.index.files.manifest import Manifest
from sparsegate_server.index.store.database import Store

_log = logging.getLogger(__name__)

_DOCUMENTS: Final = 1_000
"""Documents that one step reads."""


class Scrub:
    """Reads a file, or some documents, at a time.

    Args:
        manifest: gives the one that holds.

    Attributes:
        damage: what is wrong with the index; its reads are refused with it.
        problem: what is wrong with a document of the store, "" if nothing is. Reads of that
            document fail by themselves.
    """

    def __init__(self, folder: Path, manifest: Callable[[], Manifest], store: Store) -> None:
        self._folder = folder
        self._manifest = manifest
        self._store = store
        self._files: list[str] = []
        self._number: int | None = None
        self.damage: CorruptIndex | None = None
        self.problem = ""

    def begin(self) -> None:
        """Puts everything on the list."""
        self._files = sorted(self._manifest().files)
        self._number = 0

    def step(self) -> bool:
        """Reads the next piece. Returns whether there are more."""
        if self._files:
            self._read_file(self._files.pop())
        elif self._number is not None:
            self._number = self._read_documents(self._number)
        return bool(self._files) or self._number is not None

    def found(self, error: CorruptIndex) -> None:
        """Notes that a file of the index is damaged, whoever has found it."""
        if self.damage is None:
            _log.error("reads are refused from now on: %s", error.message)
        self.damage = error

    def _read_file(self, name: str) -> None:
        try:
            problem = segment_file.damage(self._folder / name)
            if problem:
                raise Damaged(self._folder / name, problem)
        except CorruptIndex as error:
            # A merge may have deleted the file meanwhile.
            if name in self._manifest().files:
                self.found(error)

    def _read_documents(self, number: int) -> int | None:
        """The last number that was read; None at the end, or at the first damage."""
        try:
            stored = self._store.live_after(number, _DOCUMENTS)
            for each in stored:
                each.check()
        except CorruptStore as error:
            if error.message != self.problem:
                _log.error("the store is damaged: %s", error.message)
            self.problem = error.message
            return None
        if not stored:
            self.problem = ""
            return None
        return stored[-1].number
