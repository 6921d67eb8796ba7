"""What a program did to the files of one folder, in the order in which it happened.

Paths are relative to that folder, with "." for the folder itself. A file keeps its number through
every rename; the path beside it is what it was called at the time, for messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Create:
    """A new, empty file."""

    path: str
    file: int


@dataclass(frozen=True, slots=True)
class Write:
    path: str
    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """The file now ends at `size`: it was cut, or zeros were added."""

    path: str
    file: int
    size: int


@dataclass(frozen=True, slots=True)
class SyncFile:
    """fsync or fdatasync of a file."""

    path: str
    file: int


@dataclass(frozen=True, slots=True)
class SyncFolder:
    """fsync of a directory."""

    path: str


@dataclass(frozen=True, slots=True)
class Rename:
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Link:
    """A second name of a file."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Unlink:
    path: str


@dataclass(frozen=True, slots=True)
class Mkdir:
    path: str


@dataclass(frozen=True, slots=True)
class Rmdir:
    path: str


@dataclass(frozen=True, slots=True)
class Ack:
    """The program told the world that something is done: from here on it must not be lost."""

    content: Any


Event = (
    Create | Write | Resize | SyncFile | SyncFolder | Rename | Link | Unlink | Mkdir | Rmdir | Ack
)
