"""Starting, losing and stopping the packaged Triton."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from tests.graphs import relabel

from sparsegate_server.errors import (
    DeadlineExceeded,
    FingerprintMismatch,
    InferenceFailed,
    InferenceUnavailable,
    ModelNotFound,
    TritonPreflightError,
)
from sparsegate_server.inference import circuit
from sparsegate_server.inference.triton import TritonBackend
from sparsegate_server.inference.tritonserver import TritonServer, environment, preflight
from sparsegate_server.inference.tritonserver import server as started
from sparsegate_server.models.pull import pull
from sparsegate_server.models.recipe import FamilyChoice
from sparsegate_server.models.repository import Vectors, export
from sparsegate_server.models.spec import ModelSpec

from .test_inference import row

pytestmark = pytest.mark.usefixtures("can_run_triton")

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
PATIENCE = 30.0

PARENT = """
import sys, time
from pathlib import Path
from sparsegate_server.inference.tritonserver import TritonServer
server = TritonServer(Path(sys.argv[1]), ["splade-tiny"])
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    return true()


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_server_that_dies_is_unavailable_and_one_that_comes_back_works(
    model_repository: Path, terms: ModelSpec
) -> None:
    server = TritonServer(model_repository, [terms.name])
    await asyncio.to_thread(server.start)
    backend = TritonBackend([server.url])
    before = await backend.infer(terms, row(2000))
    os.kill(server.pid, signal.SIGKILL)
    assert wait_until(lambda: not server.running)
    for _ in range(3):
        with pytest.raises(InferenceUnavailable, match="check that Triton runs") as away:
            await backend.infer(terms, row(2000))
        assert away.value.retry_after
        assert away.value.retry_after <= 1.0
    assert not await backend.ready(terms)
    server.stop()

    again = TritonServer(
        model_repository,
        [terms.name],
        http_port=server.ports.http,
        grpc_port=server.ports.grpc,
        metrics_port=server.ports.metrics,
    )
    await asyncio.to_thread(again.start)
    try:
        assert await until_ready(backend, terms)
        after = await backend.infer(terms, row(2000))
        assert (after["values"] == before["values"]).all()
        await asyncio.sleep(circuit.CHECK_SECONDS)
        os.kill(again.pid, signal.SIGSTOP)
        with pytest.raises(DeadlineExceeded):
            await backend.infer(terms, row(2000), timeout=0.2)
        # One batch without an answer has the server looked at, in the background.
        assert "Triton at" in (await until_refused(backend, terms)).message
        os.kill(again.pid, signal.SIGCONT)
        assert await until_ready(backend, terms)
    finally:
        await backend.close()
        again.stop()
    assert not is_alive(again.pid)


async def until_ready(backend: TritonBackend, spec: ModelSpec) -> bool:
    """Whether the model becomes ready in time."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if await backend.ready(spec):
            return True
        await asyncio.sleep(0.02)
    return False


async def until_refused(backend: TritonBackend, spec: ModelSpec) -> InferenceUnavailable:
    """The error once the server is not asked any more; until then batches have no answer."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with pytest.raises((DeadlineExceeded, InferenceUnavailable)) as refused:
            await backend.infer(spec, row(2000), timeout=0.2)
        if isinstance(refused.value, InferenceUnavailable):
            return refused.value
    raise AssertionError("nobody looked at a server that stands still")


async def test_models_that_come_and_go_on_a_server_that_runs(
    model_repository: Path, terms: ModelSpec, logits: ModelSpec
) -> None:
    with TritonServer(model_repository, [terms.name]) as server:
        backend = TritonBackend([server.url])
        control = triton.InferenceServerClient(server.url)
        with pytest.raises(ModelNotFound, match="load it there"):
            await backend.infer(logits, row(2000))
        control.load_model(logits.name)
        assert await until_ready(backend, logits)
        assert (await backend.infer(logits, row(2000)))["logits"].size
        control.unload_model(logits.name)
        with pytest.raises(InferenceUnavailable, match="'splade-tiny-logits' has been unloaded"):
            await backend.infer(logits, row(2000))
        assert not await backend.ready(logits)
        # The other one does not notice.
        await backend.infer(terms, row(2000))
        control.close()
        await backend.close()


async def test_a_server_replaced_between_two_batches_is_found_out(
    model_repository: Path, tmp_path: Path, terms: ModelSpec
) -> None:
    """No batch failed meanwhile, and the new server answers at the old address: another model under
    the same name, as its fingerprint says."""
    sums = Vectors(family=FamilyChoice.SPLADE_SUM)
    export(pull(terms.name), tmp_path, vectors=sums)
    with TritonServer(model_repository, [terms.name]) as server:
        backend = TritonBackend([server.url])
        await backend.infer(terms, row(2000))
        os.kill(server.pid, signal.SIGKILL)
    with TritonServer(tmp_path, grpc_port=server.ports.grpc):
        with pytest.raises(FingerprintMismatch, match="export the model again"):
            await backend.infer(terms, row(2000))
        await backend.close()


async def test_a_server_that_lies_is_found_out(
    model_repository: Path, tmp_path: Path, terms: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `model.py` returns what no graph does. Comparing answers at the start would stop it."""
    shutil.copytree(model_repository / terms.name, tmp_path / terms.name)
    file = tmp_path / terms.name / "1" / "model.py"
    text = file.read_text()
    told = "np.ascontiguousarray(array * np.float32('nan') if array.dtype.kind == 'f' else array)"
    changed = text.replace("np.ascontiguousarray(array)", told)
    assert changed != text
    file.write_text(changed)
    monkeypatch.setattr(started, "check_parity", lambda *_: None)
    with TritonServer(tmp_path) as server:
        backend = TritonBackend([server.url])
        with pytest.raises(InferenceFailed, match="weights that are not finite"):
            await backend.infer(terms, row(2000))
        await backend.close()


def test_stopping_leaves_nothing_behind(model_repository: Path) -> None:
    def regions() -> set[str]:
        return {path.name for path in SHARED_MEMORY.glob(f"sparsegate_{os.getpid()}_*")}

    before = regions()
    with TritonServer(model_repository, ["splade-tiny"]) as server:
        pid = server.pid
        assert regions() > before
        assert "successfully loaded 'splade-tiny'" in server.log
    assert not is_alive(pid)
    assert not server.running
    assert regions() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_dies_with_its_parent(model_repository: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(model_repository)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.send_signal(number)
    assert wait_until(lambda: not is_alive(pid))
    prefix = f"sparsegate_{parent.pid}_"
    assert wait_until(
        lambda: not any(path.name.startswith(prefix) for path in SHARED_MEMORY.iterdir())
    )


def test_a_taken_port_is_named(model_repository: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TritonPreflightError, match=f"port {port} on 127.0.0.1"):
            TritonServer(model_repository, ["splade-tiny"], grpc_port=port).start()


def test_an_unknown_model(model_repository: Path) -> None:
    with pytest.raises(ModelNotFound):
        TritonServer(model_repository, ["other"]).start()


def test_a_model_that_does_not_load_says_why(model_repository: Path, tmp_path: Path) -> None:
    shutil.copytree(model_repository / "splade-tiny", tmp_path / "splade-tiny")
    (tmp_path / "splade-tiny" / "1" / "model.onnx").write_bytes(b"no graph")
    server = TritonServer(tmp_path)
    with pytest.raises(TritonPreflightError, match=r"(?s)stopped while it started.*model\.onnx"):
        server.start()
    assert not server.running


def test_the_graph_of_another_model_is_not_loaded(model_repository: Path, tmp_path: Path) -> None:
    shutil.copytree(model_repository / "splade-tiny", tmp_path / "splade-tiny")
    relabel(tmp_path / "splade-tiny" / "1" / "model.onnx", "0" * 32)
    server = TritonServer(tmp_path)
    said = r"(?s)stopped while it started.*fingerprint 0{32}, not .*export the model again"
    with pytest.raises(TritonPreflightError, match=said):
        server.start()
    assert not server.running


def test_other_numbers_than_in_this_process_stop_it(model_repository: Path, tmp_path: Path) -> None:
    """A server that answers, and answers something else: here with every weight doubled."""
    shutil.copytree(model_repository / "splade-tiny", tmp_path / "splade-tiny")
    file = tmp_path / "splade-tiny" / "1" / "model.py"
    text = file.read_text()
    changed = text.replace("np.ascontiguousarray(array)", "np.ascontiguousarray(array * 2)")
    assert changed != text
    file.write_text(changed)
    server = TritonServer(tmp_path)
    with pytest.raises(TritonPreflightError, match="differ by"):
        server.start()
    assert not server.running


def test_too_little_shared_memory(
    terms: ModelSpec, logits: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 MB, as Docker gives by default: enough for terms and too little for raw logits."""
    docker = shutil.disk_usage("/")._replace(free=64 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: docker)
    preflight.check_shared_memory([terms])
    with pytest.raises(TritonPreflightError, match="64 MB free and 640 MB are needed"):
        preflight.check_shared_memory([logits])


def test_a_backend_that_the_wheel_lacks_is_named(terms: ModelSpec) -> None:
    preflight.check_backends([terms])
    with pytest.raises(TritonPreflightError, match="'splade-tiny' wants Triton's onnxruntime"):
        preflight.check_backends([terms, replace(terms, backend="onnxruntime")])


def test_numpy_2_is_refused(tmp_path: Path) -> None:
    installed = environment.install()
    preflight.check_environment(installed)
    fake = environment.Environment(tmp_path)
    fake.stub.parent.mkdir(parents=True)
    shutil.copy(installed.stub, fake.stub)
    (fake.packages / "numpy-2.4.0.dist-info").mkdir()
    with pytest.raises(TritonPreflightError, match=r"numpy 2\.4\.0"):
        preflight.check_environment(fake)


def test_a_machine_that_cannot_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(preflight.platform, "machine", lambda: "aarch64")
        with pytest.raises(TritonPreflightError, match="linux x86_64, this is linux aarch64"):
            preflight.check_machine()
    with monkeypatch.context() as patch:
        patch.setattr(preflight.platform, "libc_ver", lambda: ("glibc", "2.31"))
        with pytest.raises(TritonPreflightError, match=r"glibc 2\.35 or later, this is 2\.31"):
            preflight.check_machine()
    with monkeypatch.context() as patch:
        patch.setattr(preflight.sys, "version_info", (3, 13, 0, "final", 0))
        with pytest.raises(TritonPreflightError, match=r"Python 3\.11 or 3\.12"):
            preflight.check_python()
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        with pytest.raises(TritonPreflightError, match="bash"):
            preflight.check_machine()
    with monkeypatch.context() as patch:
        patch.setattr(preflight.sysconfig, "get_config_var", lambda _: "/nowhere")
        patch.setattr(preflight.sys, "base_prefix", "/nowhere")
        with pytest.raises(TritonPreflightError, match="libpython"):
            preflight.check_machine()


def test_a_half_made_environment_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interruption is played by a lock that pip refuses; the next try starts from nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    real = environment.LOCK_FILE
    bad = tmp_path / "bad.lock"
    bad.write_text("flatbuffers==25.12.19 --hash=sha256:" + "0" * 64 + "\n")
    monkeypatch.setattr(environment, "LOCK_FILE", bad)
    with pytest.raises(TritonPreflightError, match="pip could not make Triton's environment"):
        environment.install()
    assert environment.environment().root.exists()
    assert not environment.is_installed()
    # The same folder as before, now with a lock that can be installed.
    root = environment.environment()
    monkeypatch.setattr(environment, "environment", lambda: root)
    monkeypatch.setattr(environment, "LOCK_FILE", real)
    leftover = root.root / "half"
    leftover.touch()
    assert environment.install() == root
    assert not leftover.exists()
    assert preflight.check_environment(root).startswith("numpy 1.")
    assert environment.install() == replace(root)
