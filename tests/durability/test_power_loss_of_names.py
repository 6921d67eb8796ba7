"""A data folder keeps every acknowledged collection, alias and snapshot, wherever the power goes.

From before there is a folder at all: what `workloads/data_folder.py` acknowledged is there after
the next start, the one step under way wholly or not at all, and nothing else lies about.
SPARSEGATE_EVERY_LOSS=1 tries every loss behind every event.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Collection as Places
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sparsegate_server.backends.base import AliasChange, CollectionConfig, Tier
from sparsegate_server.backends.embedded import EmbeddedBackend
from sparsegate_server.errors import SparsegateError
from sparsegate_server.index import recovery
from sparsegate_server.index.files.manifest import NAME, read_manifest
from sparsegate_server.index.store.schema import FILE
from sparsegate_server.settings import Index

from .disk import DURABLE, LOSSES, Loss, parent, scattered
from .events import Ack, Create, Event, Link, Mkdir, Rename, SyncFolder, Unlink
from .recorder import record, unavailable
from .replay import essential_syncs, in_folder, survivals, window
from .workloads.backend_world import plain, settle

WORKLOAD = Path(__file__).parent / "workloads" / "data_folder.py"
EVERY_LOSS = (*LOSSES, *(scattered(seed) for seed in range(4)))
THOROUGH = bool(os.environ.get("SPARSEGATE_EVERY_LOSS"))
NOTHING: dict[str, Any] = {"collections": {}, "aliases": {}, "snapshots": {}}

reason = unavailable()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))


class Found(NamedTuple):
    """What the backend tells after a start, in the form that the workload acknowledges.

    Attributes:
        left: what lies in the folder though nothing needs it.
    """

    world: dict[str, Any]
    problems: dict[str, str]
    left: list[str]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    folder = tmp_path_factory.mktemp("parent")
    return record([sys.executable, str(WORKLOAD), str(folder)], folder)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """Where images are opened: in memory, if there is such a folder, for their syncs cost time."""
    memory = Path("/dev/shm")  # noqa: S108
    where = memory if os.access(memory, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=where) as folder:
        yield Path(folder)


def found(above: Path) -> Found | str:
    """What a start finds in the folder `data`, or why it finds nothing."""
    return asyncio.run(_found(above / "data"))


async def _found(path: Path) -> Found | str:
    backend = EmbeddedBackend(Index(folder=path, threads=1))
    try:
        await backend.start()
        await settle(backend)
        return Found(await told(backend, path), backend.problems(), left_over(path))
    except SparsegateError as error:
        return f"{type(error).__name__}: {error.message}"
    finally:
        await backend.close()


async def told(backend: EmbeddedBackend, path: Path) -> dict[str, Any]:
    collections: dict[str, Any] = {}
    for stats in await backend.list_collections():
        name = stats.config.name
        page = await backend.scroll(name, after=None, limit=1000)
        assert (await backend.count(name)).count == len(page.documents) == stats.documents
        documents = {
            each.id: plain(each.vector, each.text, each.payload)
            for each in page.documents
            if each.vector is not None
        }
        fields = [index.field for index in stats.payload_indexes]
        collections[name] = {"documents": documents, "fields": fields}
    aliases = {each.alias: each.collection for each in await backend.list_aliases()}
    snapshots = {}
    for folder in (path / "snapshots").iterdir():
        listed = await backend.list_snapshots(folder.name)
        if listed:
            snapshots[folder.name] = [
                [each.name, each.documents if intact(folder / each.name) else "damaged"]
                for each in listed
            ]
    return {"collections": collections, "aliases": aliases, "snapshots": snapshots}


def intact(archive: Path) -> bool:
    try:
        with zipfile.ZipFile(archive) as members:
            return members.testzip() is None
    except (zipfile.BadZipFile, zlib.error):
        return False


def left_over(path: Path) -> list[str]:
    """Files and folders that none of the backend's own tell of."""
    files = {path / "LOCK", path / "ALIASES", *(path / "snapshots").glob("*/*.snapshot")}
    for folder in (path / "collections").glob("[!.]*"):
        index = folder / recovery.INDEX
        files |= {folder / f"{FILE}{suffix}" for suffix in ("", "-wal", "-shm")}
        files |= {index / name for name in {NAME, *read_manifest(index).files}}
    return sorted(
        str(each.relative_to(path))
        for each in path.rglob("*")
        if (each.is_file() and each not in files) or each.name.startswith(".")
    )


def lost(
    events: Sequence[Event],
    scratch: Path,
    *,
    without: Places[int] = (),
    within: range | None = None,
) -> Iterator[str]:
    """What is wrong after each loss, as it is found."""
    worlds = [NOTHING, *(event.content["world"] for event in events if isinstance(event, Ack))]

    def wanted(index: int, loss: Loss) -> bool:
        if within is not None and index not in within:
            return False
        return THOROUGH or loss is DURABLE or interesting(events, index)

    read = in_folder(scratch, found)
    for each in survivals(events, EVERY_LOSS, read, without=without, wanted=wanted):
        done = len(each.acknowledged)
        wrong = wrong_with(each.found, worlds[done : done + 2])
        if wrong is not None:
            step = each.acknowledged[-1]["step"] if done else "nothing"
            yield f"behind {each.behind}, {each.loss.name}, after {step}: {wrong}"


def interesting(events: Sequence[Event], index: int) -> bool:
    """Before and behind the change of a name, and every so often."""
    around = events[max(index, 0) : index + 2]
    return index % 37 == 0 or any(isinstance(event, Rename | Unlink | Mkdir) for event in around)


def wrong_with(found: Found | str, allowed: Sequence[dict[str, Any]]) -> str | None:
    """All that was acknowledged is there, and nothing else but the whole of the step under way."""
    if isinstance(found, str):
        return found
    if found.problems:
        return f"cannot be read: {found.problems}"
    if found.left:
        return f"left over: {found.left}"
    return None if found.world in allowed else f"{found.world}, not one of {allowed}"


def test_the_life_has_everything(events: list[Event]) -> None:
    steps = [event.content["step"] for event in events if isinstance(event, Ack)]
    for done in ("created", "written", "archived", "restored", "rebuilt", "indexed", "deleted"):
        assert any(step.endswith(done) for step in steps), done
    assert events[0] == Mkdir("data")
    renamed = [event for event in events if isinstance(event, Rename)]
    assert sum(event.target == "data/ALIASES" for event in renamed) == 4
    assert sum(Path(event.target).parent.name == "collections" for event in renamed) == 5
    last = next(event.content["world"] for event in reversed(events) if isinstance(event, Ack))
    assert set(last["collections"]) == {"films", "books", "copies"}
    assert set(last["snapshots"]) == {"films"}  # of the collection that was deleted


def test_no_acknowledged_name_is_lost(events: list[Event], scratch: Path) -> None:
    assert list(lost(events, scratch)) == []


def test_life_goes_on(events: list[Event], scratch: Path) -> None:
    worlds = [NOTHING, *(event.content["world"] for event in events if isinstance(event, Ack))]
    tried = range(-1, len(events), 1 if THOROUGH else 41)
    count = 0
    for each in survivals(
        events, EVERY_LOSS, in_folder(scratch, lived_on), wanted=lambda index, _: index in tried
    ):
        new, found = each.found
        done = len(each.acknowledged)
        allowed = [merged(world, new) for world in worlds[done : done + 2]]
        wrong = wrong_with(found, allowed)
        assert wrong is None, f"behind {each.behind}, {each.loss.name}: {wrong}"
        count += 1
    assert count > 25


def lived_on(above: Path) -> tuple[dict[str, Any], Found | str]:
    """What has been made in a further life, and what is found in the one after it."""
    return asyncio.run(_lived_on(above / "data"))


async def _lived_on(path: Path) -> tuple[dict[str, Any], Found | str]:
    backend = EmbeddedBackend(Index(folder=path, threads=1))
    await backend.start()
    await backend.create_collection(CollectionConfig("new", Tier("model", "print", 40)))
    await backend.update_aliases([AliasChange("newest", "new")])
    snapshot = await backend.create_snapshot("newest")
    await backend.close()
    new = {
        "collections": {"new": {"documents": {}, "fields": []}},
        "aliases": {"newest": "new"},
        "snapshots": {"new": [[snapshot.name, 0]]},
    }
    return new, await _found(path)


def merged(world: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return {kind: {**world[kind], **new[kind]} for kind in world}


def test_each_sync_is_missed(events: list[Event], scratch: Path) -> None:
    essential = [at for at in essential_syncs(events) if not _spare(events, at)]
    essential += [at for at, event in enumerate(events) if _saves_removal(events, at)]
    assert len(essential) > 60
    for at in essential:
        found = next(lost(events, scratch, without=[at], within=window(events, at)), None)
        assert found is not None, f"nothing is lost without the sync {events[at]} at {at}"


def _saves_removal(events: Sequence[Event], at: int) -> bool:
    """Whether a sync makes durable that a snapshot is gone."""
    before = events[at - 1]
    return (
        isinstance(before, Unlink)
        and before.path.endswith(".snapshot")
        and events[at] == SyncFolder(parent(before.path))
    )


def _spare(events: Sequence[Event], at: int) -> bool:
    """Whether nothing is lost without a sync, for one of these reasons: it only comes before a
    rename in a folder that is not in use yet; what it saves is gone at the next acknowledgement;
    or the manifest that it saves puts no files out of use."""
    within = window(events, at)
    if not any(isinstance(events[place], Ack) for place in within):
        return not _in_use(events[at])
    names = _new_names(events, at)
    return bool(names) and (
        names <= _removed(events, range(at, _next_acknowledgement(events, at)))
        or _only_saves_replay(events, at, names)
    )


def _only_saves_replay(events: Sequence[Event], at: int, names: set[str]) -> bool:
    """Whether it is a manifest alone, and the one before it says the same together with the
    store."""
    folder = paths(events[at])[0]
    removed = {path for path in _removed(events, window(events, at)) if parent(path) == folder}
    return _in_use(events[at]) and names == {f"{folder}/{NAME}"} and not removed


def _in_use(sync: Event) -> bool:
    """Whether it is a sync in the folder of a collection that has its name."""
    return re.match(r"data/collections/[^.]", paths(sync)[0]) is not None


def _new_names(events: Sequence[Event], at: int) -> set[str]:
    """Those that a sync of a folder saves; none for that of a file."""
    sync, names = events[at], set[str]()
    if isinstance(sync, SyncFolder):
        for event in reversed(events[:at]):
            if event == sync:
                break
            if isinstance(event, Create | Mkdir | Rename) and parent(paths(event)[-1]) == sync.path:
                names.add(paths(event)[-1])
    return names - {event.source for event in events[:at] if isinstance(event, Rename)}


def _removed(events: Sequence[Event], places: range) -> set[str]:
    found = (events[place] for place in places)
    return {event.path for event in found if isinstance(event, Unlink)}


def _next_acknowledgement(events: Sequence[Event], at: int) -> int:
    return next(place for place in range(at, len(events)) if isinstance(events[place], Ack))


def paths(event: Event) -> tuple[str, ...]:
    """Where it happens: of a rename, the old name and the new."""
    match event:
        case Ack():
            return ()
        case Rename(source, target) | Link(source, target):
            return source, target
    return (event.path,)
