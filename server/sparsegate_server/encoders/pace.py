"""How fast the inference backend works, learned from the batches that it has done."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

_SMOOTHING = 0.1
_FORGETTING = 0.01

TRUSTED_SECONDS = 1.0
"""So long what the last batch taught makes a text hopeless. Texts that are dropped teach nothing:
were it for ever, a machine that stood still once would be thought slow for as long as all who come
are in a hurry."""


@dataclass(slots=True)
class _Seconds:
    """Seconds a padded token: what they usually are, and the least of late; and when the last batch
    told."""

    usual: float
    least: float
    told: float = 0.0


class Pace:
    """Two running estimates for every graph: one to say when to come again, and one that hardly any
    batch beats, to say what is hopeless. A graph that is unloaded is forgotten."""

    def __init__(self) -> None:
        self._graphs: WeakKeyDictionary[object, _Seconds] = WeakKeyDictionary()

    def observe(self, graph: object, tokens: int, seconds: float, now: float) -> None:
        """Learns from a batch of so many tokens, padding included, that has ended now."""
        each = seconds / tokens
        known = self._graphs.setdefault(graph, _Seconds(each, each))
        known.usual += _SMOOTHING * (each - known.usual)
        # Down at once, up slowly: a machine that was idle is as fast as it ever was.
        known.least = min(each, known.least + _FORGETTING * (each - known.least))
        known.told = now

    def least(self, graph: object, tokens: int, now: float) -> float:
        """Seconds that a batch will take at the very least; 0 while nothing is known, or nothing of
        late."""
        known = self._graphs.get(graph)
        recent = known is not None and now - known.told <= TRUSTED_SECONDS
        return tokens * known.least if known and recent else 0.0

    def usual(self, graph: object, tokens: int) -> float:
        """Seconds that so many tokens usually take in one place; 0 while nothing is known."""
        known = self._graphs.get(graph)
        return tokens * known.usual if known else 0.0
