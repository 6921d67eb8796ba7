"""Replaces a file as a whole, several times: written aside, synced, renamed, directory synced.

The second argument names what is left out: nothing, file or folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import traced


def main(folder: Path, left_out: str) -> None:
    traced.begin()
    (folder / "deep").mkdir()
    if left_out != "folder":
        sync_folder(folder)
    for number in range(5):
        replace(folder / "deep", b"%d" % number * 5000, left_out)
        traced.acknowledge(number)


def replace(folder: Path, content: bytes, left_out: str) -> None:
    with open(folder / "aside", "wb") as file:  # noqa: PTH123
        file.write(content)
        file.flush()
        if left_out != "file":
            os.fsync(file.fileno())
    (folder / "aside").rename(folder / "value")
    if left_out != "folder":
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


main(Path(sys.argv[1]), sys.argv[2])
