"""A look at SQLite's write-ahead log before SQLite opens it.

SQLite follows the log up to the first frame that does not fit its checksum and drops the rest
without a word: that is how it rids itself of a commit that a power loss cut short. As each commit
is synced before the next one begins, at most one can have been cut short, and it was never
acknowledged. If more than one commit lies behind the break, the log was damaged later, and
acknowledged writes are in it.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

import numpy as np

from sparsegate_server.errors import CorruptStore
from sparsegate_server.index import kernels

_HEADER: Final = struct.Struct(">8I")
_MAGIC: Final = 0x377F0682  # checksums of little-endian words, as every log written here has


def check_log(database: Path) -> None:
    """Raises CorruptStore: the log was damaged after it had been synced."""
    path = database.with_name(database.name + "-wal")
    if not path.exists():
        return
    raw = path.read_bytes()
    if len(raw) < _HEADER.size:
        return
    magic, _, page_bytes, _, _, _, first, second = _HEADER.unpack(raw[: _HEADER.size])
    if magic != _MAGIC or page_bytes % 8 or not page_bytes:
        raise _damaged(path, "its header is none")
    words = np.frombuffer(raw, np.uint32, len(raw) // 4)
    sound, commits = kernels.scan_wal(words, page_bytes // 4, first, second)
    if commits > 1:
        raise _damaged(path, f"{commits} commits lie behind the damaged frame {sound + 1}")


def _damaged(path: Path, what: str) -> CorruptStore:
    return CorruptStore(
        f"{path} is damaged ({what}): SQLite would drop acknowledged writes; keep a copy, then"
        " restore the collection's last snapshot, or delete it to go on without these writes",
        metadata={"file": str(path)},
    )
