"""Small files that are read as a whole: one line of JSON, one line with its CRC-32."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from sparsegate_server.index.files.durable import replace_file


def write_checked(path: Path, value: object) -> None:
    """Gives the file new content in one step.

    Raises:
        OSError: the old content still holds.
    """
    body = json.dumps(value, sort_keys=True)
    replace_file(path, f"{body}\n{zlib.crc32(body.encode()):08x}\n".encode())


def read_checked(path: Path) -> Any:
    """Raises ValueError: the file is damaged. FileNotFoundError: it is missing."""
    lines = path.read_bytes().split(b"\n")
    if len(lines) != 3 or lines[1] != b"%08x" % zlib.crc32(lines[0]):
        raise ValueError("it does not fit its checksum")
    return json.loads(lines[0])
