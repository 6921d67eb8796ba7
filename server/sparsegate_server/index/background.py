"""What goes on behind a collection's back, and how writes and the end of it wait for that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from sparsegate_server.errors import CorruptIndex, Overloaded, ShuttingDown
from sparsegate_server.index.maintenance import Job, Maintenance
from sparsegate_server.index.scrub import Scrub
from sparsegate_server.index.upkeep import Upkeep

_CROWDED: Final = 16
"""Tails of so many times their size hold writes back until they are sealed."""

_PATIENCE_SECONDS: Final = 30.0
_FIRST_SCRUB_SECONDS: Final = 600.0
"""A gateway that is started again every day is scrubbed nevertheless."""


class Background:
    """Seals, merges, makes payload columns and scrubs, in the threads of a `Maintenance`.

    Args:
        name: of the collection, for the log.
        maintenance: None leaves all work to the caller.
        tail_rows: how many documents wait to be sealed.
        tail_documents: how many make a seal worth it.
        scrub_seconds: pause between two scrubs; 0 for none.
        sealed: called after each seal.
    """

    def __init__(
        self,
        name: str,
        upkeep: Upkeep,
        scrub: Scrub,
        maintenance: Maintenance | None,
        *,
        tail_rows: Callable[[], int],
        tail_documents: int,
        scrub_seconds: float,
        sealed: Callable[[], None],
    ) -> None:
        self._upkeep = upkeep
        self._scrub = scrub
        self._maintenance = maintenance
        self._tail_rows = tail_rows
        self._tail_documents = tail_documents
        self._scrub_seconds = scrub_seconds
        self._sealed = sealed
        self._room = threading.Condition()
        self._closing = False
        self.seal_job = Job(f"sealing {name}", self._seal_if_due)
        self.merge_job = Job(f"merging {name}", self._merge_or_index)
        self._scrub_job = Job(f"scrubbing {name}", self._scrub_step)

    def start(self) -> None:
        """Looks at once for work that an earlier process has left."""
        if self._maintenance:
            self._maintenance.sealing.wake(self.seal_job)
            self._maintenance.merging.wake(self.merge_job)
            self._schedule_scrub(min(self._scrub_seconds, _FIRST_SCRUB_SECONDS))

    def release(self) -> None:
        """Lets go of the writes that wait for room: the collection is about to close."""
        with self._room:
            self._closing = True
            self._room.notify_all()

    def stop(self) -> None:
        """Returns once none of its work runs, or will."""
        if self._maintenance:
            self._maintenance.sealing.forget(self.seal_job)
            self._maintenance.merging.forget(self.merge_job)
            self._maintenance.merging.forget(self._scrub_job)

    @property
    def busy(self) -> bool:
        """Whether there is work left."""
        if self._maintenance is None:
            return False
        return self._maintenance.sealing.busy(self.seal_job) or self._maintenance.merging.busy(
            self.merge_job
        )

    @property
    def problem(self) -> str:
        """Why work fails, "" while it does not."""
        damage = self._scrub.damage.message if self._scrub.damage else self._scrub.problem
        return damage or self.seal_job.problem or self.merge_job.problem

    @property
    def damage(self) -> CorruptIndex | None:
        """What the scrub has found."""
        return self._scrub.damage

    def seal(self) -> bool:
        """Makes the new documents segments. Returns whether there were any."""
        try:
            return self._upkeep.seal()
        finally:
            # The tails were set aside even if the seal has failed.
            with self._room:
                self._room.notify_all()

    def after_write(self) -> None:
        if self._maintenance and self._upkeep.due():
            self._maintenance.sealing.wake(self.seal_job)

    def wake_merging(self) -> None:
        """Segments have come, or payload indexes have come or gone."""
        if self._maintenance:
            self._maintenance.merging.wake(self.merge_job)

    def wait_for_room(self) -> None:
        """Holds a write back while the tails are too long to be searched fast.

        Raises:
            Overloaded: they stayed so, or cannot be sealed.
            ShuttingDown: the collection is about to close.
        """
        if self._maintenance is None:
            return
        most = _CROWDED * self._tail_documents
        if self._tail_rows() >= most:
            # Writes that failed fill the tails, too, and have woken nobody.
            self._maintenance.sealing.wake(self.seal_job)
        with self._room:
            self._room.wait_for(
                lambda: self._closing or self.seal_job.problem or self._tail_rows() < most,
                _PATIENCE_SECONDS,
            )
        if self._tail_rows() < most:
            return
        if not self._closing:
            raise Overloaded(
                f"{most} documents wait to be sealed ({self.problem or 'the disk is slow'}):"
                " retry later",
                retry_after=5.0,
            )
        raise ShuttingDown("the collection is closed: retry later")

    def _seal_if_due(self) -> bool:
        if not self._upkeep.due() and not self._upkeep.interrupted:
            return False
        self.seal()
        self._sealed()
        self.wake_merging()
        return True

    def _merge_or_index(self) -> bool:
        return self._upkeep.merge() or self._upkeep.index()

    def _schedule_scrub(self, after: float) -> None:
        if self._maintenance and self._scrub_seconds:
            self._scrub.begin()
            self._maintenance.merging.wake(self._scrub_job, after)

    def _scrub_step(self) -> bool:
        if self._scrub.damage:
            return False
        more = self._scrub.step()
        if not more:
            self._schedule_scrub(self._scrub_seconds)
        return more
