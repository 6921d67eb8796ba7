"""A gateway that is killed while it loads a model, and while it calibrates a collection.

After the start that follows, what was acknowledged is there, the service serves, and what was
under way is either done or never was.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.golden import FILMS
from tests.integration.triton.load import COLLECTION, Load
from tests.unit.index.opening import sound

from sparsegate import Calibration, Client, Document, Unavailable
from sparsegate_server.launch import GatewayProcess
from sparsegate_server.models.pull import pull
from sparsegate_server.models.recipe import FamilyChoice
from sparsegate_server.models.repository import Vectors, export

SERVED, LOADED = "tiny", "sums"
QUESTION = "a movie about music"
QUESTIONS = [f"{film['movie_name']} {number}" for number in range(10) for film in FILMS]
FIRST_ID = 1_000_000
"""Of the films, past those that the load writes."""

SHARES = (0.05, 0.4, 0.8, 0.98)
"""Of the time that a change takes, after which the gateway is killed."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two_models")
    pulled = pull("splade-tiny")
    export(pulled, folder, name=SERVED)
    export(pulled, folder, name=LOADED, vectors=Vectors(family=FamilyChoice.SPLADE_SUM))
    return folder


@pytest.fixture
def gateway(exported: Path, data_folder: Path) -> Iterator[GatewayProcess]:
    """A process with the films in a collection."""
    models = {"repository": exported, "names": [SERVED]}
    index = {"folder": data_folder}
    with GatewayProcess(models=models, inference={"backend": "onnx"}, index=index) as started:
        with connected(started) as client:
            client.create_collection(COLLECTION, shards=2)
            films = [
                Document(FIRST_ID + number, film["movie_description"])
                for number, film in enumerate(FILMS)
            ]
            client.upsert(COLLECTION, films).raise_for_errors()
        yield started
    assert sound(data_folder / "collections" / COLLECTION) == []


@contextmanager
def connected(gateway: GatewayProcess) -> Iterator[Client]:
    with Client(gateway.address, options=[("grpc.enable_retries", 0)]) as client:
        client.wait_ready(30)
        yield client


def killed_during(
    gateway: GatewayProcess, change: Callable[[Client], Any], seconds: float | None
) -> bool:
    """Kills the gateway while documents are written and a change is made, starts it again, and
    checks that all that was acknowledged is there.

    Args:
        seconds: from the asking for the change to the end; None waits for its acknowledgement.

    Returns:
        Whether the change was acknowledged before.
    """
    with connected(gateway) as client, ThreadPoolExecutor(1) as pool:
        with Load(gateway.address, threads=2, timeouts=(10.0,), model=SERVED) as load:
            wait_for_a_write(load)
            asked = pool.submit(change, client)
            if seconds is None:
                wait([asked])
            else:
                time.sleep(seconds)
            gateway.kill()
        error = asked.exception()
        assert error is None or isinstance(error, Unavailable)
    assert load.codes().keys() <= {"OK", "UNAVAILABLE"}
    gateway.start()
    kept = [each.stored for each in load.outcomes if each.stored is not None]
    with connected(gateway) as again:
        found = again.get(COLLECTION, kept)
        assert [document.id for document in found.documents] == kept
    return error is None


def wait_for_a_write(load: Load, seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not any(each.stored for each in load.outcomes):
        assert time.monotonic() < until, load.codes()
        time.sleep(0.02)


def seconds_of(change: Callable[[], Any]) -> float:
    began = time.monotonic()
    change()
    return time.monotonic() - began


def best(client: Client) -> list[tuple[object, float]]:
    """The films that are found, whatever else has been written."""
    hits = client.search(COLLECTION, QUESTION, limit=10_000).hits
    return [(hit.id, hit.score) for hit in hits if int(hit.id) >= FIRST_ID]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_while_it_loads_a_model(gateway: GatewayProcess, exported: Path) -> None:
    before = digests(exported)
    with connected(gateway) as client:
        ranking = best(client)
        assert ranking
        usual = seconds_of(lambda: client.load_model(LOADED))
    done = []
    for seconds in (*(share * usual for share in SHARES), None):
        # What it loads now, it has not loaded before in its life.
        gateway.kill()
        gateway.start()
        done.append(killed_during(gateway, lambda each: each.load_model(LOADED), seconds))
        with connected(gateway) as client:
            assert {model.name for model in client.list_models()} == {SERVED}
            assert best(client) == ranking
    # Else none was cut short, or none was done: this test would have shown less than it says.
    assert (done[0], done[-1]) == (False, True)
    assert digests(exported) == before
    with connected(gateway) as client:
        assert client.load_model(LOADED).outcome == "loaded"
        assert not client.encode([QUESTION], mode="query", model=LOADED).errors


def test_while_it_calibrates(gateway: GatewayProcess) -> None:
    with connected(gateway) as client:
        usual = seconds_of(lambda: client.calibrate(COLLECTION, QUESTIONS, limit=1))
    done = []
    for limit, seconds in enumerate((*(share * usual for share in SHARES), None), 2):
        with connected(gateway) as client:
            before = calibration(client)
        done.append(
            killed_during(
                gateway,
                lambda each, limit=limit: each.calibrate(COLLECTION, QUESTIONS, limit=limit),
                seconds,
            )
        )
        with connected(gateway) as client:
            after = calibration(client)
            found = client.search(COLLECTION, QUESTION, target_recall=0.9)
        # Either the old one, to the last digit, or the new one, and that whole.
        assert after == before or (after.limit, after.queries) == (limit, len(QUESTIONS))
        assert after.limit == limit or not done[-1]
        assert found.effort == after.effort_for(0.9)
    assert (done[0], done[-1]) == (False, True)


def calibration(client: Client) -> Calibration:
    found = client.get_collection(COLLECTION).calibration
    assert found is not None
    return found
