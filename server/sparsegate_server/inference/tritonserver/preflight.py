"""Checks, before the start, what would make the packaged Triton hang or corrupt data."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

from sparsegate_server.errors import TritonPreflightError
from sparsegate_server.inference.tritonserver.environment import Environment
from sparsegate_server.models.spec import ModelSpec

LOOPBACK = "127.0.0.1"
_GLIBC = (2, 35)
"""What the wheel was built against (its tag says manylinux_2_35)."""
_PYTHONS = ((3, 11), (3, 12))
"""Those that we support and that numpy below 2 has wheels for."""
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
_MEGABYTE = 2**20
_ROOM = {"terms": 16 * _MEGABYTE, "pooled": 64 * _MEGABYTE, "logits": 640 * _MEGABYTE}
"""Shared memory of one model. Each of its two processes grows to the largest batch that moved: for
raw logits, two blocks of 128 MB, the most that the encoder asks for, while one reply leaves as the
next one comes."""


def machine_checks() -> list[tuple[str, Callable[[], str]]]:
    """What must hold before anything is installed: a name and a check that returns what it found.

    Each check raises TritonPreflightError with the cause and the remedy.
    """
    return [
        ("platform", check_platform),
        ("C library", check_libc),
        ("Python", check_python),
        ("libpython", lambda: str(libpython_folder())),
        ("bash", check_bash),
    ]


def check_machine() -> None:
    """Raises TritonPreflightError for the first check that fails."""
    for _, check in machine_checks():
        check()


def check_platform() -> str:
    found = f"{sys.platform} {platform.machine()}"
    if found != "linux x86_64":
        raise TritonPreflightError(f"the packaged Triton runs on linux x86_64, this is {found}")
    return found


def check_libc() -> str:
    name, version = platform.libc_ver()
    if name != "glibc":
        raise TritonPreflightError(f"the packaged Triton needs glibc, this is {name or 'another'}")
    if tuple(int(part) for part in version.split(".")[:2]) < _GLIBC:
        raise TritonPreflightError(
            f"the packaged Triton needs glibc {_GLIBC[0]}.{_GLIBC[1]} or later, this is {version}"
        )
    return f"{name} {version}"


def check_python() -> str:
    if sys.version_info[:2] not in _PYTHONS:
        wanted = " or ".join(f"{major}.{minor}" for major, minor in _PYTHONS)
        raise TritonPreflightError(
            f"the packaged Triton needs Python {wanted}, this is {platform.python_version()}"
        )
    return platform.python_version()


def libpython_folder() -> Path:
    """Where this Python's shared library is; without it Triton's stub never starts.

    Raises:
        TritonPreflightError: it is nowhere.
    """
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    folders = [
        Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib"),
        Path(sys.base_prefix) / "lib",
    ]
    for folder in folders:
        if (folder / name).is_file():
            return folder
    raise TritonPreflightError(
        f"this Python has no {name} (looked in {' and '.join(map(str, folders))}): install your "
        "system's libpython package, or a Python built with --enable-shared"
    )


def check_bash() -> str:
    found = shutil.which("bash")
    if found is None:
        raise TritonPreflightError("bash is not on the PATH: Triton starts its models with it")
    return found


def check_backends(specs: Sequence[ModelSpec]) -> None:
    """Raises TritonPreflightError when a model wants a backend that the wheel does not have."""
    for spec in specs:
        if spec.backend != "python":
            raise TritonPreflightError(
                f"model {spec.name!r} wants Triton's {spec.backend} backend, which the packaged "
                "server lacks: run NVIDIA's image, or export the model with --backend python"
            )


def check_shared_memory(specs: Sequence[ModelSpec]) -> str:
    """Raises TritonPreflightError when /dev/shm cannot hold what these models will need."""
    needed = sum(_ROOM[spec.output] * len(spec.served_names) for spec in specs)
    if not os.access(_SHARED_MEMORY, os.W_OK | os.X_OK):
        raise TritonPreflightError(f"{_SHARED_MEMORY} is missing or not writable")
    free = shutil.disk_usage(_SHARED_MEMORY).free
    if free < needed:
        raise TritonPreflightError(
            f"{_SHARED_MEMORY} has {free // _MEGABYTE} MB free and {needed // _MEGABYTE} MB are "
            "needed: give the container more (docker run --shm-size=1g), or serve fewer models"
        )
    return f"{free // _MEGABYTE} MB free, {needed // _MEGABYTE} MB needed"


def check_environment(env: Environment) -> str:
    """Raises TritonPreflightError when the server's environment is not what was locked."""
    if not env.stub.is_file() or not os.access(env.stub, os.X_OK):
        raise TritonPreflightError(f"{env.stub} is missing or not executable: remove {env.root}")
    found = env.packages.glob("numpy-*.dist-info")
    versions = [path.name.removeprefix("numpy-").removesuffix(".dist-info") for path in found]
    if len(versions) != 1 or not versions[0].startswith("1."):
        raise TritonPreflightError(
            f"Triton's environment has numpy {' and '.join(versions) or 'missing'}; with any but "
            f"1.x its data is corrupted without a word: remove {env.root}"
        )
    return f"numpy {versions[0]}"


def check_ports(ports: Sequence[int]) -> str:
    """Raises TritonPreflightError when a port of the loopback address is taken."""
    for port in ports:
        with socket.socket() as probe:
            # As the server does: a port whose last connection is closing is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError as error:
                raise TritonPreflightError(
                    f"port {port} on {LOOPBACK} cannot be used ({error.strerror}): choose another"
                ) from error
    return ", ".join(map(str, ports))


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody uses now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()
