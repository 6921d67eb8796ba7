"""What a benchmark ran on, and with which versions."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from llvmlite.binding import get_host_cpu_name  # type: ignore[import-untyped]


def facts(packages: Sequence[str]) -> dict[str, str]:
    """The date, the machine, and the versions of packages of this environment, ours among them."""
    versions = [f"{name} {metadata.version(name)}" for name in ("sparsegate", *packages)]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{_cpu()}, {os.cpu_count()} cores, {platform.platform()}",
        "ours": f"Python {platform.python_version()}, {', '.join(versions)}",
    }


def peer_versions(python: str, packages: Sequence[str]) -> str:
    """The versions of packages of another environment, by its Python."""
    script = (
        "import sys, importlib.metadata as m\n"
        "def version(name):\n"
        "    try: return m.version(name)\n"
        "    except m.PackageNotFoundError: return 'missing'\n"
        "print('Python', sys.version.split()[0], *(f'{n} {version(n)}' for n in sys.argv[1:]),"
        " sep=', ')"
    )
    done = subprocess.run(
        [python, "-c", script, *packages], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip().replace("Python, ", "Python ", 1)


def _cpu() -> str:
    """What the processor calls itself, and what the compiler takes it for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return str(get_host_cpu_name())
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({get_host_cpu_name()})" if names else str(get_host_cpu_name())
