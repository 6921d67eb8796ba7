"""The collections of a data folder by name: opened, made, deleted, found under aliases.

Whoever changes names does so one at a time; `get` may be called by any thread at any time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparsegate_server import index
from sparsegate_server.backends.base import (
    Alias,
    AliasChange,
    CollectionConfig,
    CollectionStats,
    PayloadIndex,
)
from sparsegate_server.backends.facts import config_from
from sparsegate_server.backends.ranges import TermRanges
from sparsegate_server.errors import (
    CollectionExists,
    CollectionNotFound,
    CorruptStore,
    ShuttingDown,
    SparsegateError,
)
from sparsegate_server.index import recovery
from sparsegate_server.index.data_folder import DataFolder
from sparsegate_server.index.store import schema

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """Attributes:
    ranges: the term ids of its tiers in `collection`, which knows of none.
    """

    config: CollectionConfig
    collection: index.Collection
    ranges: TermRanges

    def stats(self, aliases: tuple[str, ...] = ()) -> CollectionStats:
        size = self.collection.size()
        return CollectionStats(
            config=self.config,
            sequence=size.sequence,
            documents=size.documents,
            segments=size.segments,
            tail=size.tail,
            postings=size.postings,
            tombstones=size.tombstones,
            index_bytes=size.index_bytes,
            store_bytes=size.store_bytes,
            busy=self.collection.busy,
            problem=self.collection.problem,
            payload_indexes=tuple(
                PayloadIndex(field, kind, ready)
                for field, (kind, ready) in self.collection.indexes().items()
            ),
            aliases=aliases,
            calibration=self.collection.calibration,
        )


class Members:
    """Args:
    folder: opened; whoever made it closes it.
    opening: opens the collection of a folder.
    """

    def __init__(self, folder: DataFolder, opening: Callable[[Path], index.Collection]) -> None:
        self.folder = folder
        self._opening = opening
        self._members: dict[str, Member] = {}
        self._broken: dict[str, SparsegateError] = {}

    def open_all(self) -> None:
        """Opens every collection. One that cannot be read is refused from then on, each time with
        the reason, and keeps none of the others from being served."""
        names = self.folder.names()
        for name in names:
            self._open(name)
        # What a crash in the midst of a delete leaves.
        kept = {alias: name for alias, name in self.folder.aliases.items() if name in names}
        if kept != self.folder.aliases:
            self.folder.set_aliases(kept)

    def all(self) -> list[Member]:
        """By name."""
        return [member for _, member in sorted(self._members.items())]

    def problems(self) -> dict[str, str]:
        """Why collections cannot be read, by name."""
        return {name: error.message for name, error in sorted(self._broken.items())}

    def states(self) -> dict[str, str]:
        """What is wrong with every collection, readable or not; "" where nothing is."""
        working = {each.config.name: each.collection.problem for each in self.all()}
        return {**working, **self.problems()}

    def get(self, name: str, config: CollectionConfig | None = None) -> Member:
        """The collection of that name or alias; where `config` is given, the very one of it.

        Raises:
            CollectionNotFound, or why it cannot be read.
        """
        own = self.folder.aliases.get(name, name)
        if own in self._broken:
            # The same error is raised again and again: without the frames that it met before.
            raise self._broken[own].with_traceback(None)
        member = self._members.get(own)
        if member is None:
            raise not_found(own)
        if config is not None and member.config is not config:
            raise CollectionNotFound(
                f"collection {own!r} was deleted and made anew meanwhile: send the request again",
                field="collection",
            )
        return member

    def holds(self, member: Member) -> bool:
        """Whether it has not been deleted."""
        return self._members.get(member.config.name) is member

    def told(self, member: Member, error: SparsegateError) -> SparsegateError:
        """What to tell whoever met an error: that the collection was deleted, where that closed
        it, or took its files away."""
        if not isinstance(error, ShuttingDown | CorruptStore) or self.holds(member):
            return error
        return not_found(member.config.name)

    def with_snapshots(self, name: str) -> str:
        """The own name of a collection. The archives of one that cannot be read, or was deleted,
        are still to be had under its name.

        Raises:
            CollectionNotFound: nothing of that name is or was here.
        """
        own = self.folder.aliases.get(name, name)
        if own not in self._members and not self.folder.snapshots(own).is_dir():
            raise not_found(own)
        return own

    def check_free(self, name: str) -> None:
        """Raises CollectionExists: a collection or an alias has the name."""
        if name in self._members or name in self._broken:
            raise CollectionExists(
                f"collection {name!r} exists: choose another name or delete it first", field="name"
            )
        if name in self.folder.aliases:
            raise CollectionExists(
                f"{name!r} is an alias of {self.folder.aliases[name]!r}: choose another name",
                field="name",
            )

    def install(self, prepared: Path, name: str) -> Member:
        """Gives a prepared folder its name, and opens it.

        Raises:
            CollectionExists: the name is taken; the folder is deleted then.
        """
        try:
            self.check_free(name)
            self.folder.install(prepared, name)
        except BaseException:
            recovery.remove(prepared)
            raise
        self._open(name)
        return self.get(name)

    def delete(self, name: str) -> None:
        """Deletes a collection, readable or not, and the aliases that point to it.

        Raises:
            CollectionNotFound: no collection has that very name.
        """
        if name not in self._members and name not in self._broken:
            raise self._no_collection(name, "name")
        gone = self.folder.discard(name)  # the step that decides: it fails, or it holds
        self._broken.pop(name, None)
        member = self._members.pop(name, None)
        kept = {alias: each for alias, each in self.folder.aliases.items() if each != name}
        if kept != self.folder.aliases:
            self.folder.set_aliases(kept)
        if member:
            member.collection.close(seal=False)
        recovery.remove(gone)

    def update_aliases(self, changes: Sequence[AliasChange]) -> None:
        """All changes or none.

        Raises:
            CollectionExists: an alias has the name of a collection.
            CollectionNotFound: an alias would point to none.
        """
        aliases = dict(self.folder.aliases)
        for at, change in enumerate(changes):
            if change.collection is None:
                aliases.pop(change.alias, None)
                continue
            if change.alias in self._members or change.alias in self._broken:
                raise CollectionExists(
                    f"{change.alias!r} is the name of a collection", field=f"changes[{at}].alias"
                )
            if change.collection not in self._members and change.collection not in self._broken:
                raise self._no_collection(change.collection, f"changes[{at}].collection")
            aliases[change.alias] = change.collection
        self.folder.set_aliases(aliases)

    def aliases(self) -> list[Alias]:
        """By alias."""
        return [Alias(*pair) for pair in sorted(self.folder.aliases.items())]

    def aliases_of(self, member: Member) -> tuple[str, ...]:
        return tuple(each.alias for each in self.aliases() if each.collection == member.config.name)

    def _no_collection(self, name: str, field: str) -> CollectionNotFound:
        """For what takes the name of a collection, not an alias."""
        own = self.folder.aliases.get(name)
        if own is None:
            return not_found(name, field)
        return CollectionNotFound(
            f"{name!r} is an alias of {own!r}: name the collection itself", field=field
        )

    def _open(self, name: str) -> None:
        folder = self.folder.collection(name)
        try:
            config = _config(folder, name)
            self._members[name] = Member(config, self._opening(folder), _ranges(config))
        except SparsegateError as error:
            _log.error("collection %s cannot be read: %s", name, error.message)
            self._broken[name] = error


def not_found(name: str, field: str = "collection") -> CollectionNotFound:
    return CollectionNotFound(
        f"no collection is named {name!r}: create it first, or list the collections"
        " to see their names",
        field=field,
    )


def parameters_of(config: CollectionConfig) -> index.Parameters:
    """Of the index that keeps a collection."""
    return index.Parameters(_ranges(config).total, config.shards, config.keep_text)


def _ranges(config: CollectionConfig) -> TermRanges:
    return TermRanges([tier.vocabulary_size for tier in config.tiers])


def _config(folder: Path, name: str) -> CollectionConfig:
    """Raises CorruptStore: it is none."""
    try:
        return config_from(recovery.read_config(folder), name)
    except ValueError as error:
        raise schema.damaged(folder / schema.FILE, f"its config is none: {error}") from error
