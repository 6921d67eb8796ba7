"""The background scrub: reads every file of an index once in a while and compares its checksums, so
that a disk that rots is noticed before a search believes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sparsegate_server.errors import CorruptIndex
from sparsegate_server.index import segment_file
from sparsegate_server.index.files.container import Damaged
from sparsegate_server.index.files.manifest import Manifest


class Scrub:
    """Reads one file at a time.

    Args:
        manifest: gives the one that holds.

    Attributes:
        damage: what was found; reads of the index are refused with it.
    """

    def __init__(self, folder: Path, manifest: Callable[[], Manifest]) -> None:
        self._folder = folder
        self._manifest = manifest
        self._left: list[str] = []
        self.damage: CorruptIndex | None = None

    def begin(self) -> None:
        """Puts all files on the list."""
        self._left = sorted(self._manifest().files)

    def step(self) -> bool:
        """Reads the next file. Returns whether there are more.

        Raises:
            CorruptIndex: it is damaged.
        """
        if not self._left:
            return False
        name = self._left.pop()
        try:
            problem = segment_file.damage(self._folder / name)
            if problem:
                raise Damaged(self._folder / name, problem)
        except CorruptIndex as error:
            # A merge may have deleted the file meanwhile.
            if name in self._manifest().files:
                self.damage = error
                self._left = []
                raise
        return bool(self._left)
