"""A model that stands still on a real Triton, whose other models go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sparsegate_server.encoders.batching import pad
from sparsegate_server.errors import DeadlineExceeded, InferenceUnavailable
from sparsegate_server.inference.circuit import FAIR_SECONDS, PROBE_SECONDS
from sparsegate_server.inference.failures import hung
from sparsegate_server.inference.triton import TritonBackend
from sparsegate_server.inference.tritonserver import TritonServer
from sparsegate_server.models.pull import pull
from sparsegate_server.models.repository import export
from sparsegate_server.models.spec import ModelSpec

pytestmark = pytest.mark.usefixtures("can_run_triton")

SHORT = pad([np.array([101, 2000, 102], np.int32)], 16)
LONG = pad([np.array([101, *range(2000, 2040), 102], np.int32)] * 16, 64)
SIDE_BY_SIDE = 4
PATIENCE = 60.0

HANGING = """
import os
import time

_execute = TritonPythonModel.execute


def execute(self, requests):
    while os.path.exists({flag!r}):
        time.sleep(0.02)
    return _execute(self, requests)


TritonPythonModel.execute = execute
"""


@dataclass(frozen=True)
class Scene:
    """Attributes:
    hanging: a model that answers nothing while there is a file at `flag`.
    sound: another one of the same server.
    """

    backend: TritonBackend
    hanging: ModelSpec
    sound: ModelSpec
    flag: Path


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    flag, repository = tmp_path / "hang", tmp_path / "models"
    hanging = export(pull("splade-tiny"), repository, name="hanging")
    sound = export(pull("splade-tiny"), repository, name="sound")
    code = repository / hanging.name / "1" / "model.py"
    code.write_text(code.read_text() + HANGING.format(flag=str(flag)))
    server = TritonServer(repository)
    await asyncio.to_thread(server.start)
    # One attempt: what is lost on the way is not made up for.
    backend = TritonBackend([server.url], max_attempts=1)
    try:
        yield Scene(backend, hanging, sound, flag)
    finally:
        flag.unlink(missing_ok=True)
        await backend.close()
        await asyncio.to_thread(server.stop)


async def set_aside_by_a_probe(scene: Scene) -> None:
    """Asks the model that hangs until a probe of it has had no answer either."""
    until = time.monotonic() + PATIENCE
    told = hung("", PROBE_SECONDS).message.partition("within ")[2]
    while time.monotonic() < until:
        try:
            await scene.backend.infer(scene.hanging, SHORT, timeout=1.5 * FAIR_SECONDS)
        except InferenceUnavailable as error:
            if error.message.endswith(told):
                return
            await asyncio.sleep(0.05)
        except DeadlineExceeded:
            pass
    raise AssertionError("it was never found to hang")


async def test_the_other_models_of_its_server_lose_nothing(scene: Scene) -> None:
    async def ask(answers: list[int]) -> None:
        while True:
            found = await scene.backend.infer(scene.sound, LONG)
            answers.append(len(found["values"]))

    for spec in (scene.hanging, scene.sound):
        await scene.backend.infer(spec, SHORT)
    scene.flag.touch()
    answers: list[int] = []
    asking = [asyncio.create_task(ask(answers)) for _ in range(SIDE_BY_SIDE)]
    try:
        await set_aside_by_a_probe(scene)
        seen = len(answers)
        for _ in range(round(PATIENCE / 0.01)):
            if len(answers) >= seen + SIDE_BY_SIDE or any(task.done() for task in asking):
                break
            await asyncio.sleep(0.01)
        assert len(answers) > seen or any(task.done() for task in asking)
        assert [task.exception() for task in asking if task.done()] == []
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    # And it serves again when it answers.
    scene.flag.unlink()
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with suppress(InferenceUnavailable):
            await scene.backend.infer(scene.hanging, SHORT)
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came back")
