"""Models that come into service and go out of it while the others serve."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from sparsegate_server.backends.base import IndexBackend, Tier
from sparsegate_server.encoders.base import Encoder
from sparsegate_server.errors import (
    InferenceUnavailable,
    ModelSourceError,
    ShuttingDown,
    SparsegateError,
)
from sparsegate_server.models.repository import load_specs, served_files
from sparsegate_server.models.spec import ModelSpec
from sparsegate_server.search.models import ServedModels
from sparsegate_server.search.served import ServedEncoder

T = TypeVar("T")

logger = logging.getLogger(__name__)

_Stamp: TypeAlias = tuple[tuple[str, int, int], ...]
"""Path, size in bytes and time of the last change in nanoseconds of each file of a model."""

_REPLACE_SECONDS = 1.0


class Outcome(Enum):
    """What there was to do for a model to be served as its folder has it."""

    LOADED = "loaded"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is served.

    Attributes:
        encoder: its own.
        outcome: what there was to do.
        refused: names of the collections whose vectors another model of its name made.
    """

    encoder: Encoder
    outcome: Outcome
    refused: tuple[str, ...]


class ModelPlan:
    """Loads and unloads models, one change of a name at a time.

    A change goes on where its caller no longer waits: a model is never left half in service.

    Args:
        models: those that are served.
        index: whose collections are told of.
        repository: the model repository.
        build: makes an encoder, in any thread. Raises ModelSourceError.
    """

    def __init__(
        self,
        models: ServedModels,
        index: IndexBackend,
        repository: Path,
        build: Callable[[ModelSpec], Encoder],
    ) -> None:
        self._models = models
        self._index = index
        self._repository = repository
        self._build = build
        self._stamps = {
            encoder.spec.name: _stamp(repository, encoder.spec) for encoder in models.all()
        }
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._changes: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def load(self, name: str) -> Loaded:
        """Serves an exported model, as its folder has it now. What it replaces finishes first what
        it has begun. If it fails, everything stays as it was.

        Raises:
            ModelNotFound, ModelSourceError: it is not exported, or must not be served.
            ModelLoadFailed, InferenceUnavailable: the inference backend did not load it.
        """
        return await self._change(name, self._load)

    async def unload(self, name: str) -> tuple[str, ...]:
        """Serves a model no more. Returns once all that it had begun is done and it is freed.

        Returns:
            The names of the collections that it encoded the texts of.

        Raises:
            ModelNotFound: it is not served.
        """
        return await self._change(name, self._unload)

    async def close(self) -> None:
        """Gives up the changes under way."""
        self._closed = True
        for task in self._changes:
            task.cancel()
        await asyncio.gather(*self._changes, return_exceptions=True)

    async def _change(self, name: str, change: Callable[[str], Coroutine[Any, Any, T]]) -> T:
        if self._closed:
            raise ShuttingDown("the gateway is stopping: retry with another one")
        lock = self._locks.setdefault(name, asyncio.Lock())

        async def alone() -> T:
            async with lock:
                return await change(name)

        task = asyncio.create_task(alone())
        self._changes.add(task)
        task.add_done_callback(self._changed)
        return await asyncio.shield(task)

    def _changed(self, task: asyncio.Task[Any]) -> None:
        self._changes.discard(task)
        # The caller may not be there any more to hear of it.
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("models not changed", extra={"error": str(error)})

    async def _load(self, name: str) -> Loaded:
        spec, stamp = found = await asyncio.to_thread(self._read, name)
        old = self._models.find(name)
        same = old is not None and old.spec == spec and self._stamps.get(name) == stamp
        if old is not None and same and await self._models.backend.ready(spec):
            return self._loaded(old, Outcome.UNCHANGED)
        encoder = await asyncio.to_thread(self._build, spec)
        if old is None or same:
            await self._models.backend.load(spec)
        else:
            await self._load_beside(old, spec)
        if await asyncio.to_thread(self._has_changed, name, found):
            await self._give_back(spec, old)
            raise ModelSourceError(
                f"the files of {name!r} changed while they were loaded: load it again when the "
                "export has ended",
                field="name",
            )
        self._models.serve(encoder)
        self._stamps[name] = stamp
        if old is not None:
            await self._free(old, spec)
        outcome = Outcome.LOADED if old is None or same else Outcome.REPLACED
        logger.info(
            "model served",
            extra={"model": name, "fingerprint": spec.fingerprint, "outcome": outcome.value},
        )
        return self._loaded(encoder, outcome)

    async def _load_beside(self, old: ServedEncoder, spec: ModelSpec) -> None:
        """Loads a model while another one of its name is served.

        Where the backend can hold only one of them, and they do not give the same answers, a
        request must not begin with the one and end with the other: until the new one is there,
        callers are told to come again.
        """
        backend = self._models.backend
        if backend.side_by_side or _answers(old.spec) == _answers(spec):
            await backend.load(spec)
            return
        old.refuse(
            InferenceUnavailable(
                f"model {spec.name!r} is being replaced by a new export: retry",
                retry_after=_REPLACE_SECONDS,
            )
        )
        try:
            await old.idle()
            await backend.load(spec)
        except BaseException:
            old.refuse(None)
            raise

    async def _give_back(self, spec: ModelSpec, old: ServedEncoder | None) -> None:
        """Undoes the loading of a model that will not be served."""
        if old is None:
            await self._models.backend.unload(spec)
        else:
            await self._models.backend.unload(spec, successor=old.spec)
            old.refuse(None)

    async def _free(self, encoder: ServedEncoder, successor: ModelSpec | None = None) -> None:
        """Frees what is no longer served, once all that it had begun is done."""
        name = encoder.spec.name
        await encoder.idle()
        encoder.refuse(
            InferenceUnavailable(
                f"model {name!r} was replaced or unloaded meanwhile: retry",
                retry_after=_REPLACE_SECONDS,
            )
        )
        await self._models.backend.unload(encoder.spec, successor=successor)

    def _read(self, name: str) -> tuple[ModelSpec, _Stamp]:
        """An exported model, and its files as they are."""
        try:
            (spec,) = load_specs(self._repository, [name])
        except SparsegateError as error:
            raise error.under("name") from error
        return spec, _stamp(self._repository, spec)

    def _has_changed(self, name: str, found: tuple[ModelSpec, _Stamp]) -> bool:
        """Whether the files are others by now. What is read while an export writes it may belong to
        two models."""
        try:
            return self._read(name) != found
        except SparsegateError:
            return True

    async def _unload(self, name: str) -> tuple[str, ...]:
        encoder = self._models.withdraw(name, field="name")
        self._stamps.pop(name, None)
        await self._free(encoder)
        logger.info("model unloaded", extra={"model": name})
        return tuple(collection for collection, _ in self._collections(name))

    def _loaded(self, encoder: Encoder, outcome: Outcome) -> Loaded:
        spec = encoder.spec
        others = (
            collection
            for collection, tier in self._collections(spec.name)
            if tier.fingerprint != spec.fingerprint
        )
        return Loaded(encoder, outcome, tuple(others))

    def _collections(self, model: str) -> list[tuple[str, Tier]]:
        """The collections whose texts a model of this name encodes, by name, and what it was then.

        A model comes up at most once in a ladder.
        """
        configs = []
        for name in sorted(self._index.states()):
            # One that cannot be read says nothing of its models.
            with suppress(SparsegateError):
                configs.append(self._index.config(name))
        return [
            (config.name, tier)
            for config in configs
            for tier in config.tiers
            if tier.model == model
        ]


def _answers(spec: ModelSpec) -> tuple[object, ...]:
    """What a reply of a model's graph depends on, besides the text and small differences."""
    return spec.fingerprint, spec.output, spec.positions


def _stamp(repository: Path, spec: ModelSpec) -> _Stamp:
    found = []
    for file in served_files(repository / spec.name, spec):
        # A file that is missing is somebody else's to complain of.
        with suppress(FileNotFoundError):
            state = file.stat()
            found.append((str(file), state.st_size, state.st_mtime_ns))
    return tuple(found)
