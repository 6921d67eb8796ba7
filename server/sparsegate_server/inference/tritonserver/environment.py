"""The environment that the packaged Triton runs in: made once, apart from the gateway's own."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sparsegate_server.errors import TritonPreflightError
from sparsegate_server.models.pull import Report, quiet
from sparsegate_server.settings import cache_home

LOCK_FILE = Path(__file__).with_name("requirements.lock")
_COMPLETE = ".complete"
_PIP_LINES = 8


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment with Triton's files in it, and a backend folder that links to them.

    Attributes:
        root: holds `venv/` and `backends/`.
    """

    root: Path

    @property
    def bin(self) -> Path:
        return self.root / "venv" / "bin"

    @property
    def packages(self) -> Path:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.root / "venv" / "lib" / version / "site-packages"

    @property
    def server(self) -> Path:
        return self.packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    @property
    def stub(self) -> Path:
        """The process that runs a model's Python code; there is one for each Python version."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        stubs = self.packages / "pytriton" / "tritonserver" / "python_backend_stubs"
        return stubs / version / "triton_python_backend_stub"

    @property
    def backends(self) -> Path:
        return self.root / "backends"


def environment() -> Environment:
    """Where this lock's environment for this Python is, or will be."""
    key = hashlib.sha256(LOCK_FILE.read_bytes() + f"{sys.version}{sys.base_prefix}".encode())
    return Environment(cache_home() / "triton" / key.hexdigest()[:16])


def is_installed() -> bool:
    return (environment().root / _COMPLETE).is_file()


def install(report: Report = quiet) -> Environment:
    """Makes the environment, some 330 MB, unless it is there; one process at a time does it.

    Raises:
        TritonPreflightError: pip failed, or the wheel has nothing for this Python.
    """
    env = environment()
    if is_installed():
        return env
    env.root.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(env.root.with_suffix(".lock"), report):
        if is_installed():
            return env
        # What is there without the mark is the half of an interrupted installation.
        shutil.rmtree(env.root, ignore_errors=True)
        report("Making Triton's environment")
        _run([sys.executable, "-m", "venv", "--without-pip", str(env.root / "venv")], "venv")
        report("Downloading Triton with pip (about 100 MB, once)")
        pip = [sys.executable, "-m", "pip", "--python", str(env.bin / "python3"), "install"]
        options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-input"]
        _run([*pip, *options, "--requirement", str(LOCK_FILE)], "pip")
        _link_backend(env)
        (env.root / _COMPLETE).touch()
    return env


def _link_backend(env: Environment) -> None:
    """Lays out what `--backend-directory` wants: the python backend's files and the stub."""
    if not env.stub.is_file():
        raise TritonPreflightError(
            f"the packaged Triton has no stub for Python {sys.version_info.major}."
            f"{sys.version_info.minor}"
        )
    env.server.chmod(0o755)
    env.stub.chmod(0o755)
    folder = env.backends / "python"
    folder.mkdir(parents=True)
    backend = env.server.parent.parent / "backends" / "python"
    for file in (*backend.iterdir(), env.stub):
        (folder / file.name).symlink_to(file)


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()][-_PIP_LINES:]
        raise TritonPreflightError(
            f"{what} could not make Triton's environment; its last lines:\n  " + "\n  ".join(lines)
        )


@contextmanager
def _exclusive(file: Path, report: Report) -> Iterator[None]:
    """Holds a lock between processes; the kernel frees it when its holder dies."""
    with file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("Waiting for another process that is installing Triton")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
