"""How gateways take turns at a load."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from bench.serving.load import Call, Load, closed_loop

_WARM_UP = 0.5


def orders(names: Sequence[str], rounds: int) -> Iterator[Sequence[str]]:
    """The order of each round: there and back, so that none is always the first."""
    for number in range(rounds):
        yield names if number % 2 == 0 else names[::-1]


async def in_turns(
    names: Sequence[str], rounds: int, run: Callable[[str, Load, int], Awaitable[None]]
) -> dict[str, Load]:
    """Runs each of several loads once a round, one after the other.

    Args:
        run: told the name, where to count, and the number of the round.

    Returns:
        What each did over all rounds.
    """
    loads = {name: Load() for name in names}
    for number, order in enumerate(orders(names, rounds)):
        for name in order:
            await run(name, loads[name], number)
    return loads


async def closed_in_turns(
    calls: Mapping[str, Sequence[Call]], feed: Iterator[str], seconds: float, rounds: int
) -> dict[str, Load]:
    """Closed loops, each of them warm before it counts."""

    async def run(name: str, load: Load, _: int) -> None:
        await closed_loop(calls[name], feed, _WARM_UP, Load())
        await closed_loop(calls[name], feed, seconds, load)

    return await in_turns(list(calls), rounds, run)
