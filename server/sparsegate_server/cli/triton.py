"""`sparsegate-server triton`: NVIDIA's Triton on this machine, in the foreground."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sparsegate_server.cli.console import err, out, progress
from sparsegate_server.cli.options import Repository, repository_of
from sparsegate_server.errors import InferenceUnavailable, SparsegateError, TritonPreflightError
from sparsegate_server.inference.tritonserver import TritonServer, environment, preflight
from sparsegate_server.models.repository import load_specs

_POLL_SECONDS = 0.5


def triton(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model to load; may be repeated.", show_default="all that can be served"
        ),
    ] = None,
    repository: Repository = None,
    http_port: Annotated[int, typer.Option(help="0 takes a free port.", min=0, max=65535)] = 8000,
    grpc_port: Annotated[int, typer.Option(help="0 takes a free port.", min=0, max=65535)] = 8001,
    metrics_port: Annotated[
        int, typer.Option(help="0 takes a free port.", min=0, max=65535)
    ] = 8002,
    install_only: Annotated[
        bool, typer.Option("--install-only", help="Install the server and stop.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only check whether this machine can run it.")
    ] = False,
) -> None:
    """Run NVIDIA's Triton on 127.0.0.1 with the exported models, until Ctrl-C.

    The first start installs the server from its package-index wheel, with pip, into an environment
    of its own in the user's cache. What is known to make it hang is checked first. When it is not
    ready in 30 s it is stopped, and you are told why. For production take NVIDIA's own image.
    """
    folder = repository_of(repository)
    names = model or []
    if check:
        _check(folder, names, (http_port, grpc_port, metrics_port))
        return
    if install_only:
        with progress("Installing Triton") as report:
            preflight.check_machine()
            installed = environment.install(report)
        out.print(str(installed.root), soft_wrap=True)
        return
    with progress("Preparing Triton") as report:
        server = TritonServer(
            folder,
            names,
            http_port=http_port,
            grpc_port=grpc_port,
            metrics_port=metrics_port,
            report=report,
        )
        server.start()
    try:
        _foreground(server)
    finally:
        server.stop()


def _foreground(server: TritonServer) -> None:
    """Returns on SIGINT or SIGTERM; raises InferenceUnavailable when the server ends by itself."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    ports = server.ports
    out.print(
        f"Triton is ready: gRPC {server.url}, HTTP {ports.http}, metrics {ports.metrics}. "
        "Ctrl-C stops it.",
        soft_wrap=True,
    )
    while not stop.wait(_POLL_SECONDS):
        if not server.running:
            raise InferenceUnavailable(f"Triton has ended by itself:\n{server.tail()}")
    err.print("Stopping Triton")


def _check(repository: Path, names: Sequence[str], ports: Sequence[int]) -> None:
    """Prints every check; raises TritonPreflightError when one of them failed."""
    checks: list[tuple[str, Callable[[], str]]] = [
        *preflight.machine_checks(),
        ("shared memory", lambda: preflight.check_shared_memory(load_specs(repository, [*names]))),
        ("ports", lambda: preflight.check_ports([port for port in ports if port])),
    ]
    if environment.is_installed():
        installed = environment.environment()
        checks.append(("environment", lambda: preflight.check_environment(installed)))
    failed = 0
    for name, run in checks:
        try:
            out.print(f"[green]✓[/green] {name}: {escape(run())}", highlight=False, soft_wrap=True)
        except SparsegateError as error:
            failed += 1
            out.print(
                f"[red]✗[/red] {name}: {escape(error.message)}", highlight=False, soft_wrap=True
            )
    if failed:
        raise TritonPreflightError(f"{failed} of {len(checks)} checks failed")
