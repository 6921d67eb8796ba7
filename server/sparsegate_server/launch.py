"""A gateway as a child process: for the demo, the benchmarks and tests that kill it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from sparsegate_server.errors import Internal

READY_SECONDS = 120.0
"""The first start on a machine compiles the kernels."""


class GatewayProcess:
    """Runs `sparsegate-server serve` on free loopback ports until the context ends.

    Without a data folder in the settings it gets one of its own, which is deleted with the context.
    After `kill` or `stop` it can be started again, on other ports, with the same data.

    Attributes:
        address: host:port of gRPC, once started.
        metrics_port: of /metrics, once started.
        log: the last lines that it logged, as the JSON objects that they are.
    """

    def __init__(self, **sections: Mapping[str, Any]) -> None:
        """Args:
        sections: settings that differ from the defaults: `inference={"backend": "triton"}`.
        """
        self._sections: dict[str, Mapping[str, Any]] = {
            "server": {"port": 0, "metrics_port": 0},
            "log": {"format": "json"},
        }
        for name, section in sections.items():
            self._sections[name] = {**self._sections.get(name, {}), **section}
        self._data: tempfile.TemporaryDirectory[str] | None = None
        if "folder" not in self._sections.get("index", {}):
            self._data = tempfile.TemporaryDirectory(prefix="sparsegate-data-")
            index = self._sections.get("index", {})
            self._sections["index"] = {**index, "folder": self._data.name}
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._listening: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.log: deque[dict[str, Any]] = deque(maxlen=1000)
        self.address = ""
        self.metrics_port = -1

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Returns once it listens.

        Raises:
            Internal: it ended, or did not listen in time; the message has its last words.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sparsegate_server", "serve"],
            env={**os.environ, **self._variables()},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C is for the parent, which stops us in order
        )
        self._listening = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            listening = self._listening.get(timeout=READY_SECONDS)
        except queue.Empty:
            listening = None
        if listening is None:
            self.stop()
            words = "\n".join(json.dumps(line) for line in list(self.log)[-5:])
            raise Internal(f"the gateway did not start:\n{words}")
        self.address = f"{listening['host']}:{listening['port']}"
        self.metrics_port = listening["metrics_port"]

    def stop(self, timeout: float = 30.0) -> int:
        """Sends SIGTERM, waits for the drain, and returns the exit code; kills it when it hangs."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
        return self._reap()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def _reap(self) -> int:
        assert self._process is not None
        code = self._process.wait()
        if self._reader is not None:
            self._reader.join()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._process = None
        return code

    def __enter__(self) -> GatewayProcess:
        try:
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self.stop()
        if self._data is not None:
            self._data.cleanup()

    def _variables(self) -> dict[str, str]:
        """The settings as environment variables, which every platform passes on alike."""
        return {
            f"SPARSEGATE_{section}__{key}".upper(): _text(value)
            for section, values in self._sections.items()
            for key, value in values.items()
        }

    def _read(self) -> None:
        """Follows the log, so that the pipe never fills up and holds the gateway."""
        assert self._process is not None
        assert self._process.stderr is not None
        for text in self._process.stderr:
            try:
                line = json.loads(text)
            except ValueError:
                line = {"message": text.rstrip()}
            self.log.append(line)
            if line.get("message") == "listening":
                self._listening.put(line)
        self._listening.put(None)


def _text(value: object) -> str:
    """What pydantic-settings reads back as the same value: text as it is, the rest as JSON."""
    return str(value) if isinstance(value, str | Path) else json.dumps(value)
