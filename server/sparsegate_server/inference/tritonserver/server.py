"""Starts, watches and stops the packaged Triton."""

from __future__ import annotations

import http.client
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from sparsegate_server.errors import TritonPreflightError
from sparsegate_server.inference.tritonserver import preflight
from sparsegate_server.inference.tritonserver.environment import Environment, install
from sparsegate_server.inference.tritonserver.parity import check_parity
from sparsegate_server.models.pull import Report, quiet
from sparsegate_server.models.repository import load_specs

READY_SECONDS = 30.0
DRAIN_SECONDS = 20.0
_POLL_SECONDS = 0.05
_TAIL_LINES = 12
_GUARD = Path(__file__).with_name("guard.py")


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports of one server."""

    http: int
    grpc: int
    metrics: int


class TritonServer:
    """One Triton on loopback, as a context manager.

    It runs in a process group of its own, is told to drain at the end, and dies with this process
    whatever way this process ends. Before it counts as started, every model must answer a known
    batch as the same graph does in this process.

    Args:
        repository: the model repository.
        names: models to load; all that are exported when empty.
        http_port, grpc_port, metrics_port: 0 takes a free one.
        report: told of every slow step.

    Raises (from `start` and from entering the context):
        TritonPreflightError: this machine cannot run it, or it did not become ready in 30 s, or it
            computes something else than this process does. Nothing is left running.
        ModelSourceError, ModelNotFound: a model is missing or not exported.
    """

    def __init__(
        self,
        repository: Path,
        names: Sequence[str] = (),
        *,
        http_port: int = 0,
        grpc_port: int = 0,
        metrics_port: int = 0,
        report: Report = quiet,
    ) -> None:
        self._repository = repository.resolve()
        self._names = list(names)
        self._wanted = (http_port, grpc_port, metrics_port)
        self._report = report
        self._guard: subprocess.Popen[str] | None = None
        self._files: tempfile.TemporaryDirectory[str] | None = None
        self.ports = Ports(*self._wanted)
        self.pid = 0
        """Process id of the tritonserver itself."""

    @property
    def url(self) -> str:
        """host:port of the gRPC endpoint."""
        return f"{preflight.LOOPBACK}:{self.ports.grpc}"

    @property
    def log(self) -> str:
        """What the server has written so far."""
        if self._files is None:
            return ""
        return (Path(self._files.name) / "log").read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether the server's process is alive."""
        return self._guard is not None and self._guard.poll() is None

    def start(self) -> None:
        """Returns when the server is ready and has been seen to compute what it should."""
        specs = load_specs(self._repository, self._names)
        preflight.check_machine()
        preflight.check_backends(specs)
        preflight.check_shared_memory(specs)
        env = install(self._report)
        preflight.check_environment(env)
        free = iter(preflight.free_ports(len(self._wanted)))
        self.ports = Ports(*(port or next(free) for port in self._wanted))
        preflight.check_ports([self.ports.http, self.ports.grpc, self.ports.metrics])
        self._report("Starting Triton")
        try:
            graphs = [replace(spec, name=name) for spec in specs for name in spec.served_names]
            self._launch(env, [graph.name for graph in graphs])
            self._wait_until_ready()
            self._report("Comparing Triton's answers with this process")
            for graph in graphs:
                check_parity(self.url, self._repository, graph)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Lets requests finish, then stops the server; returns when it is gone."""
        if self._guard is not None:
            # Waits for the guard, which waits for the server.
            self._guard.communicate()
            self._guard = None
        if self._files is not None:
            self._files.cleanup()
            self._files = None

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _launch(self, env: Environment, names: Sequence[str]) -> None:
        prefix = f"sparsegate_{os.getpid()}_{secrets.token_hex(4)}_"
        guard = [sys.executable, "-I", str(_GUARD), str(DRAIN_SECONDS), prefix]
        self._files = tempfile.TemporaryDirectory(prefix="sparsegate-triton-")
        with (Path(self._files.name) / "log").open("wb") as log:
            self._guard = subprocess.Popen(
                guard + self._command(env, names, prefix),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_variables(env),
                # A Ctrl-C at the terminal is for us alone; we then stop the server in order.
                start_new_session=True,
                text=True,
            )
        if self._guard.stdout is None:
            raise TritonPreflightError("the guard process has no output")
        self.pid = int(self._guard.stdout.readline() or 0)

    def _command(self, env: Environment, names: Sequence[str], prefix: str) -> list[str]:
        return [
            str(env.server),
            f"--model-repository={self._repository}",
            f"--backend-directory={env.backends}",
            f"--backend-config=python,shm-region-prefix-name={prefix}",
            # The default address would be every address of the machine.
            f"--http-address={preflight.LOOPBACK}",
            f"--grpc-address={preflight.LOOPBACK}",
            f"--metrics-address={preflight.LOOPBACK}",
            f"--http-port={self.ports.http}",
            f"--grpc-port={self.ports.grpc}",
            f"--metrics-port={self.ports.metrics}",
            # The gateway's keepalive pings come more often than is allowed by default.
            "--grpc-http2-min-recv-ping-interval-without-data=5000",
            f"--exit-timeout-secs={DRAIN_SECONDS:.0f}",
            "--disable-auto-complete-config",
            "--allow-gpu-metrics=false",
            # Its collector holds up the end by most of a second.
            "--allow-cpu-metrics=false",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in names),
        ]

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + READY_SECONDS
        while not _is_ready(self.ports.http):
            if not self.running:
                raise TritonPreflightError(f"Triton stopped while it started:\n{self.tail()}")
            if time.monotonic() > until:
                raise TritonPreflightError(
                    f"Triton was not ready after {READY_SECONDS:.0f} s:\n{self.tail()}"
                )
            time.sleep(_POLL_SECONDS)

    def tail(self) -> str:
        """The log's errors, or else its last lines."""
        lines = [line for line in self.log.splitlines() if line.strip()]
        # On a machine without a GPU every start has errors about CUDA, and they mean nothing.
        errors = [line for line in lines if line.startswith("E") and "Cuda" not in line]
        return "\n".join(f"  {line}" for line in (errors or lines)[-_TAIL_LINES:])


def _variables(env: Environment) -> dict[str, str]:
    """This process's environment variables, changed so that the stub finds its packages."""
    inherited = os.environ.get("LD_LIBRARY_PATH")
    libraries = str(preflight.libpython_folder())
    return {
        **os.environ,
        # The stub takes its packages from the first python3 on the PATH.
        "PATH": f"{env.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "LD_LIBRARY_PATH": f"{libraries}{os.pathsep}{inherited}" if inherited else libraries,
    }


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection(preflight.LOOPBACK, port, timeout=1.0)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
