"""Searches of a collection with a ladder, while Triton stands still, is killed, and comes back."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sparsegate import Client, Document, SearchResult, Unavailable
from sparsegate_server.inference.tritonserver import TritonServer
from sparsegate_server.launch import GatewayProcess
from sparsegate_server.models.pull import pull
from sparsegate_server.models.recipe import FamilyChoice
from sparsegate_server.models.repository import Vectors, export

pytestmark = pytest.mark.usefixtures("can_run_triton")

MODELS = ["free", "tiny"]
TIMEOUT = 2.0
BACK_SECONDS = 5.0
AT_ONCE = [("grpc.enable_retries", 0)]
"""The client's own retries would hide what the gateway says."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny`, and `free`, whose queries need no Triton."""
    folder = tmp_path_factory.mktemp("rungs")
    pulled = pull("splade-tiny")
    export(pulled, folder, name="tiny")
    export(pulled, folder, name="free", vectors=Vectors(family=FamilyChoice.SPLADE_DOC))
    return folder


@dataclass(frozen=True)
class Answer:
    began: float
    ended: float
    result: SearchResult


class Searches:
    """Client threads that search without a pause; an error ends the test."""

    def __init__(self, address: str, threads: int = 3) -> None:
        self.answers: list[Answer] = []
        self.errors: list[Exception] = []
        self._address = address
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._search, args=(n,)) for n in range(threads)]

    def _search(self, number: int) -> None:
        with Client(self._address, timeout=TIMEOUT, options=AT_ONCE) as client:
            at = 0
            while not self._over.is_set():
                at += 1
                began = time.monotonic()
                try:
                    # No two alike: the query cache would answer them.
                    result = client.search("films", f"tasty cheese {number} {at}")
                except Exception as error:
                    self.errors.append(error)
                else:
                    self.answers.append(Answer(began, time.monotonic(), result))
                time.sleep(0.01)

    def tiers(self, start: float, end: float) -> set[int]:
        """Of the searches that lie between two instants."""
        lying = [each for each in self.answers if start <= each.began and each.ended <= end]
        return {each.result.tier.number for each in lying if each.result.tier is not None}

    def __enter__(self) -> Searches:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def triton_on(repository: Path, before: TritonServer | None = None) -> Iterator[TritonServer]:
    """A server, on the ports of one before it where there was one."""
    ports = before and before.ports
    made = TritonServer(
        repository,
        MODELS,
        http_port=ports.http if ports else 0,
        grpc_port=ports.grpc if ports else 0,
        metrics_port=ports.metrics if ports else 0,
    )
    with made as server:
        yield server
        if server.running:
            os.kill(server.pid, signal.SIGKILL)


def test_every_search_is_answered_through_an_outage(repository: Path) -> None:
    with (
        triton_on(repository) as triton,
        GatewayProcess(
            models={"repository": repository, "names": MODELS},
            inference={"backend": "triton"},
            triton={"urls": [triton.url]},
        ) as gateway,
        Client(gateway.address, options=AT_ONCE) as client,
    ):
        client.wait_ready()
        client.create_collection("films", model="tiny", ladder=["free"])
        client.upsert("films", [Document(1, "mouse traps and cheese"), Document(2, "an opera")])
        with Searches(gateway.address) as searches:
            began = time.monotonic()
            time.sleep(1.0)
            os.kill(triton.pid, signal.SIGSTOP)
            stopped = time.monotonic()
            time.sleep(4.0)
            os.kill(triton.pid, signal.SIGCONT)
            resumed = time.monotonic()
            time.sleep(BACK_SECONDS)
            back = time.monotonic()
            time.sleep(1.0)
            os.kill(triton.pid, signal.SIGKILL)
            killed = time.monotonic()
            triton.stop()
            time.sleep(1.0)
            # What takes every model is refused meanwhile, and leaves nothing behind.
            with pytest.raises(Unavailable) as refused:
                client.upsert("films", [Document(3, "a string quartet")], timeout=TIMEOUT)
            assert refused.value.retry_after
            assert client.get("films", [3]).missing == (3,)
            client.wait_ready(1.0)
            down = time.monotonic()
            with triton_on(repository, triton):
                returned = time.monotonic()
                time.sleep(BACK_SECONDS)
                again = time.monotonic()
                time.sleep(1.0)
                end = time.monotonic()
        assert not searches.errors, searches.errors[:3]
        assert all(each.result.hits for each in searches.answers)
        late = [each for each in searches.answers if each.ended - each.began > TIMEOUT]
        assert not late
        assert searches.tiers(began, stopped) == {0}
        assert searches.tiers(stopped, resumed) == {1}
        assert searches.tiers(back, killed) == {0}
        assert searches.tiers(killed + 0.5, down) == {1}
        assert searches.tiers(again, end) == {0}
        assert returned < again
        passed = [each.result.tier for each in searches.answers if each.result.tier]
        told = {over.error.reason for tier in passed for over in tier.passed_over}
        print(f"{len(searches.answers)} searches, passed over for {sorted(told)}")  # noqa: T201
        assert told <= {"INFERENCE_UNAVAILABLE", "DEADLINE_EXCEEDED"}
