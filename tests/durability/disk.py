"""A disk that loses power: what had been synced is there, of the rest only what a loss lets arrive.

The model is as mean as POSIX allows. The content of a file is safe once the file was synced; a
name, a rename or a removal once its directory was, and syncing a new file does not save its name.
Whatever is not safe may be lost or arrive, each change of a name and each page by itself and in
any order. Only a rename is whole: a name points to the old file or to the new one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from .events import (
    Ack,
    Create,
    Event,
    Link,
    Mkdir,
    Rename,
    Resize,
    Rmdir,
    SyncFile,
    SyncFolder,
    Unlink,
    Write,
)

REBUILT: Final = "-shm"
"""Files whose names end so are nowhere here: SQLite builds them anew when it opens a database."""
PAGE: Final = 4096

Image = dict[str, bytes | None]
"""All that lies in a folder: by path, the content of a file, or None for a folder."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What of the unsynced arrives all the same, as probabilities from 0 to 1.

    Attributes:
        creations: new names.
        renames: names that point to another file, each with the end of its old name.
        removals: names that are gone.
        data: pages written to files, and their new sizes.
        seed: which of those that may arrive do.
    """

    name: str
    creations: float
    renames: float
    removals: float
    data: float
    seed: int = 0


DURABLE: Final = Loss("durable", 0, 0, 0, 0)
ALL: Final = Loss("all", 1, 1, 1, 1)
NAMES: Final = Loss("names", 1, 1, 1, 0)
RENAMES: Final = Loss("renames", 0, 1, 0, 0)
REMOVALS: Final = Loss("removals", 0, 0, 1, 0)
DATA: Final = Loss("data", 0, 0, 0, 1)
LOSSES: Final = (DURABLE, ALL, NAMES, RENAMES, REMOVALS, DATA)


def scattered(seed: int) -> Loss:
    """A random part of each kind arrives, and how large a part is random too."""
    draw = random.Random(seed)  # noqa: S311
    creations, renames, removals, data = (draw.random() for _ in range(4))
    return Loss(f"scattered {seed}", creations, renames, removals, data, seed)


@dataclass(slots=True, eq=False)
class _File:
    """Content as last synced, and what was done to it since."""

    content: bytes = b""
    pending: list[_Edit] = field(default_factory=list)


class _Edit(NamedTuple):
    """At most a page, written at `offset`; or a new size, if there is no data."""

    offset: int
    data: bytes | None


@dataclass(slots=True, eq=False)
class _Folder:
    """Names as the programs see them, and as they were last synced."""

    current: dict[str, _Node] = field(default_factory=dict)
    durable: dict[str, _Node] = field(default_factory=dict)


_Node = _File | _Folder


class _Change(NamedTuple):
    """One operation on names: each place gets a node, or none."""

    places: tuple[tuple[_Folder, str, _Node | None], ...]

    @property
    def adds(self) -> bool:
        return any(node is not None for _, _, node in self.places)

    def likelihood(self, loss: Loss) -> float:
        """That it arrives though it was not synced."""
        if len(self.places) > 1:
            return loss.renames
        return loss.creations if self.adds else loss.removals

    @property
    def keys(self) -> set[tuple[int, str]]:
        return {(id(folder), name) for folder, name, _ in self.places}


class Disk:
    """The folder that events happen in, empty at first."""

    def __init__(self) -> None:
        self._root = _Folder()
        self._files: dict[int, _File] = {}
        self._changes: list[_Change] = []
        self._step = 0

    def apply(self, event: Event) -> None:
        """What a running program sees changes at once; what is safe, only by a sync."""
        self._step += 1
        match event:
            case Create(path, file):
                self._files[file] = _File()
                self._put(path, self._files[file])
            case Mkdir(path):
                self._put(path, _Folder())
            case Link(source, target):
                self._put(target, self._find(source))
            case Rename(source, target):
                self._change((source, None), (target, self._find(source)))
            case Unlink(path) | Rmdir(path):
                self._put(path, None)
            case Write(_, file, offset, data):
                self._files[file].pending.extend(_pages(offset, data))
            case Resize(_, file, size):
                self._files[file].pending.append(_Edit(size, None))
            case SyncFile(_, file):
                synced = self._files[file]
                synced.content = _edited(synced.content, synced.pending)
                synced.pending.clear()
            case SyncFolder(path):
                self._sync_folder(self._folder(path))
            case Ack():
                pass

    def makes_safe(self, event: Event) -> bool:
        """Whether a sync, come now, would save data or a new name that could be lost before."""
        match event:
            case SyncFile(_, file):
                return bool(self._files[file].pending)
            case SyncFolder(path):
                folder = self._folder(path)
                return any(
                    change.adds and any(place[0] is folder for place in change.places)
                    for change in self._changes
                )
        return False

    def image(self, loss: Loss) -> Image:
        """What a program finds when the power is back, after `loss`."""
        draw = random.Random(f"{loss.seed}/{self._step}")  # noqa: S311
        arrived = dict[int, dict[str, _Node]]()
        for change in self._changes:
            if draw.random() < change.likelihood(loss):
                for folder, name, node in change.places:
                    _set(arrived.setdefault(id(folder), dict(folder.durable)), name, node)
        contents = {
            id(file): _edited(
                file.content, [edit for edit in file.pending if draw.random() < loss.data]
            )
            for file in self._files.values()
        }
        image: Image = {}
        _collect(image, "", self._root, arrived, contents)
        return image

    def materialise(self, into: Path, loss: Loss) -> None:
        """Writes the image after `loss` into an empty folder."""
        write_folder(self.image(loss), into)

    def _folder(self, path: str) -> _Folder:
        found = self._root if path == "." else self._find(path)
        assert isinstance(found, _Folder), path
        return found

    def _place(self, path: str) -> tuple[_Folder, str]:
        return self._folder(parent(path)), path.rpartition("/")[2]

    def _find(self, path: str) -> _Node:
        folder, name = self._place(path)
        return folder.current[name]

    def _put(self, path: str, node: _Node | None) -> None:
        self._change((path, node))

    def _change(self, *changed: tuple[str, _Node | None]) -> None:
        change = _Change(tuple((*self._place(path), node) for path, node in changed))
        for folder, name, node in change.places:
            _set(folder.current, name, node)
        self._changes.append(change)

    def _sync_folder(self, synced: _Folder) -> None:
        """Saves all changes in the folder, and those of the same names elsewhere before them."""
        wanted, waiting = set[tuple[int, str]](), list[_Change]()
        saved = list[_Change]()
        for change in reversed(self._changes):
            here = any(folder is synced for folder, _, _ in change.places)
            if here or change.keys & wanted:
                wanted |= change.keys
                saved.append(change)
            else:
                waiting.append(change)
        for change in reversed(saved):
            for folder, name, node in change.places:
                _set(folder.durable, name, node)
        self._changes = waiting[::-1]


def read_folder(folder: Path) -> Image:
    """All that lies in `folder`."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
        if not path.name.endswith(REBUILT)
    }


def write_folder(image: Image, folder: Path) -> None:
    """Makes `folder`, with all that is in the image."""
    folder.mkdir(exist_ok=True)
    for path, content in sorted(image.items()):
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)


def parent(path: str) -> str:
    """The folder that a path lies in."""
    return path.rpartition("/")[0] or "."


def _pages(offset: int, data: bytes) -> Iterator[_Edit]:
    """Cuts written data where a page of the file begins."""
    start = 0
    while start < len(data):
        stop = min(len(data), start + PAGE - (offset + start) % PAGE)
        yield _Edit(offset + start, data[start:stop])
        start = stop


def _edited(content: bytes, edits: Sequence[_Edit]) -> bytes:
    if not edits:
        return content  # the same object, so that equal images are quickly found equal
    edited = bytearray(content)
    for offset, data in edits:
        size = offset if data is None else max(len(edited), offset + len(data))
        edited.extend(bytes(max(0, size - len(edited))))
        del edited[size:]
        if data is not None:
            edited[offset : offset + len(data)] = data
    return bytes(edited)


def _set(names: dict[str, _Node], name: str, node: _Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _collect(
    image: Image,
    prefix: str,
    folder: _Folder,
    arrived: dict[int, dict[str, _Node]],
    contents: dict[int, bytes],
) -> None:
    for name, node in arrived.get(id(folder), folder.durable).items():
        if isinstance(node, _File):
            image[prefix + name] = contents[id(node)]
        else:
            image[prefix + name] = None
            _collect(image, f"{prefix}{name}/", node, arrived, contents)
