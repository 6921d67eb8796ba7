"""`sparsegate-server triton`, in the foreground, as a user runs it."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sparsegate_server.inference.triton import TritonBackend
from sparsegate_server.models.spec import ModelSpec

pytestmark = pytest.mark.usefixtures("can_run_triton")

COMMAND = [sys.executable, "-m", "sparsegate_server.cli.main", "triton"]
FREE_PORTS = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]


async def is_ready(url: str, spec: ModelSpec) -> bool:
    backend = TritonBackend([url])
    ready = await backend.ready(spec)
    await backend.close()
    return ready


def test_it_runs_until_it_is_told_to_stop(model_repository: Path, terms: ModelSpec) -> None:
    command = [*COMMAND, *FREE_PORTS, "--repository", str(model_repository), "--model", terms.name]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        found = re.search(r"gRPC (127\.0\.0\.1:\d+)", process.stdout.readline())
        assert found
        assert asyncio.run(is_ready(found[1], terms))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Stopping Triton" in errors


def test_check_lists_what_was_found(model_repository: Path) -> None:
    done = subprocess.run(
        [*COMMAND, *FREE_PORTS, "--check", "--repository", str(model_repository)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    for name in ("platform", "C library", "libpython", "bash", "shared memory", "ports"):
        assert f"✓ {name}: " in done.stdout


def test_a_failed_check_is_told_and_counted(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--check", "--repository", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "✗ shared memory: " in done.stdout
    assert "1 of" in done.stderr
