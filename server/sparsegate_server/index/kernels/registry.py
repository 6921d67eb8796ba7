"""How a kernel is declared, compiled and cached.

A kernel is a function that Numba compiles for exactly one signature, that holds no Python object
and that runs without the GIL. Nothing is compiled when a module is imported: `warm_up` compiles
every kernel, or loads it from the cache folder, and then forbids any further compilation.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numba
import numpy as np

from sparsegate_server.settings import cache_home

_log = logging.getLogger(__name__)
_Function = TypeVar("_Function", bound=Callable[..., Any])

_kernels: list[tuple[Any, tuple[tuple[Any, ...], ...]]] = []
"""Every kernel and the signatures that it is compiled for."""

_compiling = threading.Lock()


def kernel(*argument_types: Any) -> Callable[[_Function], _Function]:
    """Declares a kernel for one signature.

    Any argument type may be a tuple of types; these go together, as the term arrays of 16 and of
    32 bits do, and there is one signature for each place in the tuples.

    Floating point keeps IEEE 754 to the letter: no fastmath, hence no reordered sum and no
    contraction that could change a bit.
    """

    def declare(function: _Function) -> _Function:
        dispatcher: Any = numba.njit(nogil=True)(function)
        _kernels.append((dispatcher, _signatures(argument_types)))
        return cast(_Function, dispatcher)

    return declare


def _signatures(argument_types: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
    variants = max((len(each) for each in argument_types if isinstance(each, tuple)), default=1)
    return tuple(
        tuple(each[number] if isinstance(each, tuple) else each for each in argument_types)
        for number in range(variants)
    )


def helper(function: _Function) -> _Function:
    """Declares a function that only kernels call; it is compiled into each of them.

    It cannot allocate, and counts no references to the arrays that it is given: a helper that is
    called once a document would spend more on atomic counters than on its work.
    """
    declare: Any = numba.njit
    return cast(_Function, declare(nogil=True, _nrt=False)(function))


@helper
def signed(value: Any) -> int:
    """An integer of any kind as an int64: with an unsigned one, Numba would go on in floats."""
    return int(np.int64(value))


def warm_up() -> None:
    """Makes every kernel ready. Idempotent and safe to call from several threads; takes about
    ten seconds with an empty cache and far less than one with a full one."""
    with _compiling:
        pending = [(each, signatures) for each, signatures in _kernels if not each.signatures]
        if not pending:
            return
        _enable_caching([dispatcher for dispatcher, _ in pending])
        for dispatcher, signatures in pending:
            for argument_types in signatures:
                dispatcher.compile(argument_types)
            dispatcher.disable_compile()


def cache_folder() -> Path:
    """Where compiled kernels are kept for this source, this Numba and this processor.

    Numba's own key is the one file that a kernel stands in: a changed helper in another file
    would go unseen. Hence the hash of all kernel sources in the name of the folder.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    machine = (
        platform.python_version(),
        numba.__version__,
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    )
    digest.update("\0".join(machine).encode())
    return cache_home() / "kernels" / digest.hexdigest()[:16]


def _enable_caching(dispatchers: list[Any]) -> None:
    folder = cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        _log.warning("kernels are compiled at every start: no cache folder %s: %s", folder, error)
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        _log.warning("kernels are compiled at every start: %s cannot be written", folder)
        return
    # Numba reads this global when caching is enabled for a function and never again, so that the
    # caches of other users of Numba in this process stay where they are.
    config: Any = numba.config
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder)
    try:
        for dispatcher in dispatchers:
            dispatcher.enable_caching()
    finally:
        config.CACHE_DIR = before
