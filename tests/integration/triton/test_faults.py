"""Triton killed, restarted, standing still and losing its models' processes, under load.

Every request is answered or refused with a code, none hangs past its deadline, nothing that was
acknowledged is lost, and the gateway serves again within five seconds of Triton's return.
"""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from sparsegate import Client
from sparsegate_server.inference.tritonserver import TritonServer
from sparsegate_server.launch import GatewayProcess

from .load import COLLECTION, Load, Outcome

pytestmark = pytest.mark.usefixtures("can_run_triton")

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
BACK_SECONDS = 5.0
SLACK_SECONDS = 0.5
"""How much later than its deadline a client may hear of it, on a machine that is busy."""

PATIENT_SECONDS = 1.0
FOUND_SECONDS = 20.0
"""In which a server that stands still is seen, on such a machine; usually it takes four or five."""

REFUSALS = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
MODEL = "splade-tiny"


@contextmanager
def triton_before(repository: Path) -> Iterator[TritonServer]:
    """A server that is killed at the end: it may have batches in hand for which it would wait."""
    with TritonServer(repository, [MODEL]) as server:
        yield server
        if server.running:
            os.kill(server.pid, signal.SIGKILL)


@pytest.fixture
def triton(model_repository: Path) -> Iterator[TritonServer]:
    with triton_before(model_repository) as server:
        yield server


@contextmanager
def gateway_before(repository: Path, *servers: TritonServer) -> Iterator[GatewayProcess]:
    """A gateway process with an empty collection."""
    with GatewayProcess(
        models={"repository": repository, "names": [MODEL]},
        inference={"backend": "triton"},
        triton={"urls": [server.url for server in servers]},
    ) as gateway:
        with Client(gateway.address) as client:
            client.wait_ready()
            client.create_collection(COLLECTION)
        yield gateway


@contextmanager
def restarted(repository: Path, dead: TritonServer) -> Iterator[float]:
    """The same server again, on the same ports; gives the instant at which it was ready."""
    ports = dead.ports
    again = TritonServer(
        repository,
        [MODEL],
        http_port=ports.http,
        grpc_port=ports.grpc,
        metrics_port=ports.metrics,
    )
    starting = Thread(target=again.start)
    starting.start()
    try:
        yield wait_until_ready(ports.http)
    finally:
        starting.join()
        again.stop()


def wait_until_ready(port: int, seconds: float = 30.0) -> float:
    """The instant at which Triton said for the first time that it is ready."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
        try:
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == http.client.OK:
                return time.monotonic()
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
        finally:
            connection.close()
    raise AssertionError("Triton never came back")


def check(load: Load, gateway: GatewayProcess) -> None:
    """What must hold of every request, whatever happened meanwhile."""
    outcomes = load.outcomes
    late = [each for each in outcomes if each.overrun > SLACK_SECONDS]
    assert not late, late[:5]
    assert load.codes().keys() <= {"OK", *REFUSALS}, load.codes()
    refused = [each for each in outcomes if each.code == "UNAVAILABLE"]
    assert all(each.retry_after for each in refused), refused[:5]
    kept = [each.stored for each in outcomes if each.stored is not None]
    with Client(gateway.address) as client:
        found: set[object] = set()
        for at in range(0, len(kept), 500):
            reply = client.get(COLLECTION, kept[at : at + 500])
            found |= {document.id for document in reply.documents}
        assert found == set(kept)


def told(name: str, load: Load, **seconds: float) -> None:
    worst = max(each.overrun for each in load.outcomes)
    figures = ", ".join(f"{key} {value:.2f} s" for key, value in seconds.items())
    print(f"{name}: {dict(load.codes())}, overrun at most {worst:+.3f} s, {figures}")  # noqa: T201


def codes(outcomes: list[Outcome]) -> set[str]:
    """Of those that had time enough on a machine that is busy with something else, too."""
    return {each.code for each in outcomes if each.timeout >= PATIENT_SECONDS}


def stubs(server: int) -> list[int]:
    """The processes of the server's python models."""
    lists = Path(f"/proc/{server}/task").glob("*/children")
    return [int(pid) for file in lists for pid in file.read_text().split()]


def test_killed_and_restarted_under_load(model_repository: Path, triton: TritonServer) -> None:
    with gateway_before(model_repository, triton) as gateway:
        pid = gateway.pid
        with Load(gateway.address) as load:
            time.sleep(1.5)
            assert codes(load.outcomes) == {"OK"}
            os.kill(triton.pid, signal.SIGKILL)
            killed = time.monotonic()
            triton.stop()
            time.sleep(1.5)
            with restarted(model_repository, triton) as ready:
                back = load.answered_after(ready, BACK_SECONDS)
                time.sleep(1.5)
                end = time.monotonic()
                # While it was away, requests were refused at once and not left to wait.
                away = load.between(killed + 1.0, ready - 0.2)
                assert away
                assert codes(away) == {"UNAVAILABLE"}
                assert sorted(each.ended - each.began for each in away)[len(away) // 2] < 0.5
                # Since it is back, all is as it was.
                assert codes(load.between(ready + back + 0.5, end - 0.5)) == {"OK"}
                with Client(gateway.address) as client:
                    client.wait_ready(BACK_SECONDS)
            # And then it stops in order, while requests are under way.
        assert gateway.pid == pid
        told("killed", load, back_after=back, outage=ready - killed)
        check(load, gateway)


def test_one_that_stands_still_is_found_and_comes_back(
    model_repository: Path, triton: TritonServer
) -> None:
    with gateway_before(model_repository, triton) as gateway:
        with Load(gateway.address) as load:
            time.sleep(1.0)
            os.kill(triton.pid, signal.SIGSTOP)
            stopped = time.monotonic()
            try:
                found = load.refused_after(stopped, FOUND_SECONDS)
                time.sleep(1.0)
            finally:
                os.kill(triton.pid, signal.SIGCONT)
            resumed = time.monotonic()
            back = load.answered_after(resumed, BACK_SECONDS)
            time.sleep(1.0)
        # At first requests wait until their deadlines; then the gateway has seen it.
        seen = load.between(stopped + found + 0.2, resumed - 0.1)
        assert codes(seen) == {"UNAVAILABLE"}
        told("stood still", load, found_after=found, back_after=back)
        check(load, gateway)


def test_with_two_servers_the_loss_of_one_fails_nothing(
    model_repository: Path, triton: TritonServer
) -> None:
    """One that stands still delays what was under way there until the gateway has seen it; the
    death of one is not noticed at all."""
    with (
        triton_before(model_repository) as other,
        gateway_before(model_repository, triton, other) as gateway,
        Load(gateway.address, timeouts=(10.0,)) as load,
    ):
        time.sleep(1.0)
        os.kill(other.pid, signal.SIGSTOP)
        time.sleep(5.0)
        os.kill(other.pid, signal.SIGCONT)
        longest = max(each.ended - each.began for each in load.outcomes)
        assert longest < 5.0
        time.sleep(2.0)
        os.kill(triton.pid, signal.SIGKILL)
        killed = time.monotonic()
        time.sleep(1.5)
        slowest = max(each.ended - each.began for each in load.between(killed, killed + 1.4))
        assert slowest < 1.0
        told("one of two lost", load, longest=longest, slowest_after_death=slowest)
        assert load.codes().keys() == {"OK"}
        check(load, gateway)


def test_processes_of_models_that_die(model_repository: Path, triton: TritonServer) -> None:
    with gateway_before(model_repository, triton) as gateway:
        with Load(gateway.address) as load:
            time.sleep(1.0)
            for pid in stubs(triton.pid):
                os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            time.sleep(0.5)
            back = load.answered_after(killed + 0.5, BACK_SECONDS)
            time.sleep(1.0)
        told("models' processes killed", load, back_after=back)
        check(load, gateway)


def test_nothing_is_left_in_shared_memory(model_repository: Path) -> None:
    def regions() -> set[str]:
        return {path.name for path in SHARED_MEMORY.glob("*triton*")} | {
            path.name for path in SHARED_MEMORY.glob(f"sparsegate_{os.getpid()}_*")
        }

    before = regions()
    with TritonServer(model_repository, [MODEL]) as server:
        assert regions() > before
        os.kill(server.pid, signal.SIGKILL)
    assert regions() == before
