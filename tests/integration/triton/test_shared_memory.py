"""A Triton whose shared memory is too small for some batches, in a mount namespace of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("can_run_triton")

MEGABYTES_TOO_FEW, MEGABYTES_ENOUGH = 40, 700

SCRIPT = """
import asyncio, os, signal, subprocess, sys
from pathlib import Path
import numpy as np
from sparsegate_server.errors import InferenceUnavailable
from sparsegate_server.inference.base import TokenBatch
from sparsegate_server.inference.triton import TritonBackend
from sparsegate_server.inference.tritonserver import TritonServer, preflight
from sparsegate_server.models.spec import ModelSpec

repository, name, enough = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
preflight.check_shared_memory = lambda specs: ""
spec = ModelSpec.load(repository / name)

def batch(rows, length):
    return TokenBatch(np.full((rows, length), 2000, np.int32), np.ones((rows, length), np.int32))

async def main():
    with TritonServer(repository, [name]) as server:
        backend = TritonBackend([server.url])
        for _ in range(3):
            try:
                # Were it to wait for its time to run out, the error would be another one.
                await backend.infer(spec, batch(4, 128), timeout=60)
            except InferenceUnavailable as error:
                assert "--shm-size" in error.message, error.message
                assert error.retry_after
            else:
                raise AssertionError("62 MB of logits fitted")
            # What fits still runs: one batch too large sets no server aside.
            assert (await backend.infer(spec, batch(1, 16), timeout=60))["logits"].size
        tried = asyncio.create_task(backend.infer(spec, batch(4, 128), timeout=60))
        subprocess.run(["mount", "-o", "remount,size=" + enough + "m", "/dev/shm"], check=True)
        try:
            await tried
        except InferenceUnavailable:
            await backend.infer(spec, batch(4, 128), timeout=60)
        await backend.close()
        # It would wait for the batches that it failed, which it believes to be under way.
        os.kill(server.pid, signal.SIGKILL)

asyncio.run(main())
"""


def in_namespace(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command that has a small /dev/shm for itself."""
    size = f"size={MEGABYTES_TOO_FEW}m"
    mounted = 'mount -t tmpfs -o "$0" sparsegate-test /dev/shm && exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounted, size, *command],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_batch_that_does_not_fit_fails_alone(model_repository: Path) -> None:
    tried = in_namespace("true")
    if tried.returncode:
        pytest.skip(f"no mount namespace can be had: {tried.stderr.strip()}")
    arguments = str(model_repository), "splade-tiny-logits", str(MEGABYTES_ENOUGH)
    done = in_namespace(sys.executable, "-c", SCRIPT, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
