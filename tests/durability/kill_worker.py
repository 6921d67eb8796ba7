"""Writers that are killed. One process imports and compiles once and then, for every line that it
reads, forks a writer, which works until it is killed or kills itself.

A line is JSON: after (how many seconds), and what `work` takes.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparsegate_server.filters import FieldKind, Filter, Match, Range
from sparsegate_server.index import (
    Collection,
    Maintenance,
    Tuning,
    archive,
    index_files,
    upkeep,
    warm_up,
)
from sparsegate_server.index import collection as collection_module
from sparsegate_server.index.files import checked_json, container, durable
from sparsegate_server.index.store.database import Store
from sparsegate_server.operations import Document, PayloadChange, PayloadMode, Target
from sparsegate_server.types import DocumentId, SparseVector

VOCABULARY = 40
TAIL = 24


@dataclass(frozen=True)
class Upsert:
    documents: tuple[Document, ...]


@dataclass(frozen=True)
class Delete:
    target: Target


@dataclass(frozen=True)
class SetPayload:
    target: Target
    change: PayloadChange


@dataclass(frozen=True)
class CreateIndex:
    field: str
    kind: FieldKind


@dataclass(frozen=True)
class DeleteIndex:
    field: str


@dataclass(frozen=True)
class Snapshot:
    pass


@dataclass(frozen=True)
class Optimize:
    pass


Operation = Upsert | Delete | SetPayload | CreateIndex | DeleteIndex | Snapshot | Optimize


def life(seed: int) -> Iterator[Operation]:
    """What a writer does, one after the other, without an end."""
    draw = random.Random(seed)  # noqa: S311
    for number in itertools.count(1):
        yield _operation(draw, number)


def _operation(draw: random.Random, number: int) -> Operation:
    (make,) = draw.choices(list(_KINDS), list(_KINDS.values()))
    return make(draw, number)


def _upsert(draw: random.Random, number: int) -> Operation:
    return Upsert(tuple(_document(draw, number) for _ in range(draw.randint(1, 50))))


def _set_payload(draw: random.Random, number: int) -> Operation:
    mode = draw.choice(list(PayloadMode))
    payload = {"group": f"g{draw.randrange(8)}", "changed": number}
    keys = ("changed", "n") if mode is PayloadMode.REMOVE else ()
    target = _ids(draw) if draw.random() < 0.5 else _filter(draw)
    return SetPayload(target, PayloadChange(mode, payload, keys))


def _create_index(draw: random.Random, _: int) -> Operation:
    return CreateIndex(*draw.choice([("group", FieldKind.KEYWORD), ("n", FieldKind.NUMBER)]))


_KINDS: dict[Callable[[random.Random, int], Operation], int] = {
    _upsert: 55,
    lambda draw, _: Delete(_ids(draw)): 10,
    lambda draw, _: Delete(_filter(draw)): 5,
    _set_payload: 12,
    _create_index: 6,
    lambda draw, _: DeleteIndex(draw.choice(["group", "n"])): 3,
    lambda *_: Snapshot(): 4,
    lambda *_: Optimize(): 5,
}
"""How operations are drawn, and how many of a hundred."""


def _document(draw: random.Random, number: int) -> Document:
    terms = sorted(draw.sample(range(VOCABULARY), draw.randint(0, 8)))
    weights = [draw.uniform(0.01, 3.0) for _ in terms]
    vector = SparseVector(np.array(terms, np.uint32), np.array(weights, np.float32))
    text = None if draw.random() < 0.1 else f"text {number} " + "word " * draw.randrange(200)
    return Document(_id(draw), vector, text, {"group": f"g{draw.randrange(8)}", "n": number})


def _id(draw: random.Random) -> DocumentId:
    number = draw.randrange(150)
    return number if draw.random() < 0.7 else str(number)


def _ids(draw: random.Random) -> tuple[DocumentId, ...]:
    return tuple(_id(draw) for _ in range(draw.randint(1, 20)))


def _filter(draw: random.Random) -> Filter:
    if draw.random() < 0.5:
        return Filter(must=(Match("group", (f"g{draw.randrange(8)}",)),))
    return Filter(must=(Range("n", lt=draw.randrange(60)),))


def apply(collection: Collection, operation: Operation, snapshots: Path) -> None:
    match operation:
        case Upsert(documents):
            collection.upsert(documents)
        case Delete(target):
            collection.delete(target)
        case SetPayload(target, change):
            collection.set_payload(target, change)
        case CreateIndex(field, kind):
            collection.create_index(field, kind)
        case DeleteIndex(field):
            collection.delete_index(field)
        case Snapshot():
            collection.snapshot(lambda: snapshots / "latest.snapshot")
        case Optimize():
            collection.optimize()


SEAMS: dict[str, tuple[Any, str, int]] = {
    "commit": (Store, "commit", 40),
    "insert": (Store, "insert", 30),
    "bury": (Store, "bury", 40),
    "purge": (Store, "purge", 12),
    "checkpoint": (Store, "checkpoint", 8),
    "segment file": (container, "write", 20),
    "write of a segment": (index_files, "write_segment", 16),
    "write of a column": (index_files, "write_column", 12),
    "manifest": (checked_json, "replace_file", 16),
    "file that replaces": (durable, "_write_all", 16),
    "folder": (index_files, "sync_folder", 16),
    "seal": (upkeep.Upkeep, "_install", 8),
    "merge": (upkeep.Upkeep, "_merge", 6),
    "swap": (index_files.IndexFiles, "swap", 16),
    "columns": (upkeep.Upkeep, "_exchange", 4),
    "deletion": (index_files.IndexFiles, "delete", 10),
    "snapshot": (collection_module, "write_archive", 3),
    "copy for a snapshot": (archive, "_compact", 3),
    "archive": (archive, "_pack", 3),
}
"""Where a writer can kill itself: what is replaced, and how many calls a short life has of it."""


def arm(seam: str, seed: int) -> None:
    """From now on the process dies before, behind or shortly after the beginning of one call."""
    place, name, calls = SEAMS[seam]
    draw = random.Random(seed)  # noqa: S311
    left = itertools.count(draw.randrange(calls), -1)
    moment = draw.choice(["before", "within", "behind"])
    delay = draw.uniform(0, 0.004)
    real: Callable[..., Any] = getattr(place, name)

    def deadly(*arguments: Any, **named: Any) -> Any:
        due = next(left) == 0
        if due and moment == "before":
            die()
        if due and moment == "within":
            threading.Timer(delay, die).start()
        result = real(*arguments, **named)
        if due and moment == "behind":
            die()
        return result

    setattr(place, name, deadly)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def work(folder: str, acks: str, seed: int, skip: int, seam: str | None, moment: int) -> None:
    """Acknowledges each operation with its number, in a line of its own.

    Args:
        folder: of a collection.
        acks: a file, which is appended to.
        seed: of the life.
        skip: how many operations of it are done already.
        seam: where the process kills itself, if anywhere. moment: at which call, and when in it.
    """
    if seam:
        arm(seam, moment)
    collection = Collection(Path(folder), Tuning(tail_documents=TAIL), maintenance=Maintenance())
    with Path(acks).open("ab", buffering=0) as out:
        for number, operation in enumerate(life(seed), 1):
            if number > skip:
                apply(collection, operation, Path(folder).parent)
                out.write(b"%d\n" % number)


def main() -> None:
    """Answers every line with how its writer ended, and whether it killed itself."""
    warm_up()
    for line in sys.stdin:
        asked = json.loads(line)
        after = asked.pop("after")
        pid = os.fork()
        if pid == 0:
            try:
                work(**asked)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        print(json.dumps(awaited(pid, after)), flush=True)  # noqa: T201


def awaited(pid: int, seconds: float) -> tuple[int, bool]:
    """Kills a child after so many seconds, unless it has ended."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), True
        time.sleep(min(left, 0.002))
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), False


if __name__ == "__main__":
    main()
