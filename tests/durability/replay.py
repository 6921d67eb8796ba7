"""Replays recorded events and loses power behind each of them, with or without one of the syncs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from .disk import Disk, Image, Loss, parent, write_folder
from .events import Ack, Event, Rename, SyncFile, SyncFolder, Unlink

_T = TypeVar("_T")


def prefixes(
    events: Sequence[Event], without: Collection[int] = ()
) -> Iterator[tuple[int, Disk, list[Any]]]:
    """The disk after each event, and what had been acknowledged by then; one and the same disk.

    Args:
        without: the places of events that never happen, though those after them do.
    """
    disk, acknowledged = Disk(), list[Any]()
    yield -1, disk, []
    for index, event in enumerate(events):
        if index not in without:
            disk.apply(event)
        if isinstance(event, Ack):
            acknowledged.append(event.content)
        yield index, disk, list(acknowledged)


class Survival(NamedTuple, Generic[_T]):
    """What was found after a loss of power behind the event at place `behind`."""

    behind: int
    loss: Loss
    acknowledged: list[Any]
    found: _T


def survivals(
    events: Sequence[Event],
    losses: Sequence[Loss],
    read: Callable[[Image], _T],
    *,
    without: Collection[int] = (),
    wanted: Callable[[int, Loss], bool] | None = None,
) -> Iterator[Survival[_T]]:
    """Loses power behind every event, in every way, and reads what is left.

    An image that was read behind the event before, or after another loss, is not read again, and
    not reported again unless more has been acknowledged. Nothing is tried before the first event
    that is left out: it is as if none were.

    Args:
        read: what is wanted of an image; `in_folder` gives it files to open.
        without: as for `prefixes`.
        wanted: whether a loss behind the event at a place is tried; None for all.
    """
    first = min(without, default=-1)
    before: list[tuple[Image, _T, int]] = []
    for index, disk, acknowledged in prefixes(events, without):
        now: list[tuple[Image, _T, int]] = []
        for loss in losses:
            if index < first or not (wanted is None or wanted(index, loss)):
                continue
            image = disk.image(loss)
            if any(image == seen for seen, _, _ in now):
                continue
            known = next((found for found in before if found[0] == image), None)
            found = read(image) if known is None else known[1]
            now.append((image, found, len(acknowledged)))
            if known is None or len(acknowledged) > known[2]:
                yield Survival(index, loss, acknowledged, found)
        before = now or before


def in_folder(scratch: Path, read: Callable[[Path], _T]) -> Callable[[Image], _T]:
    """Makes `read`, which reads files, one that reads an image: written below `scratch` for it."""

    def read_image(image: Image) -> _T:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            write_folder(image, Path(folder))
            return read(Path(folder))

    return read_image


def essential_syncs(events: Sequence[Event]) -> list[int]:
    """The places of the syncs that may not be left out.

    Those that save data or new names on which something relies before the next sync of the same
    file or folder would save them: an acknowledgement, or a rename in the same folder, which
    puts into use what was prepared there.
    """
    disk, essential = Disk(), list[int]()
    for index, event in enumerate(events):
        if disk.makes_safe(event) and _relied_on(events, window(events, index)):
            essential.append(index)
        disk.apply(event)
    return essential


def window(events: Sequence[Event], sync: int) -> range:
    """From a sync to the next one of the same file or folder, or to the end of that file: where
    it makes a difference whether it was left out."""
    for index in range(sync + 1, len(events)):
        if _ends(events[index], events[sync]):
            return range(sync, index)
    return range(sync, len(events))


def _relied_on(events: Sequence[Event], where: range) -> bool:
    synced = events[where.start]
    assert isinstance(synced, SyncFile | SyncFolder)
    folder = synced.path if isinstance(synced, SyncFolder) else parent(synced.path)
    return any(
        isinstance(event, Ack) or (isinstance(event, Rename) and parent(event.target) == folder)
        for event in events[where.start : where.stop]
    )


def _ends(event: Event, sync: Event) -> bool:
    match sync, event:
        case (SyncFile(_, file), SyncFile(_, same)):
            return file == same
        case (SyncFile(path, _), Unlink(gone)):
            return path == gone
        case (SyncFolder(path), SyncFolder(again)):
            return path == again
    return False
