"""A server that draws: its process, which never outlives the run, and its answers, which come as they are ready."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from rlpipe.core.errors import ModelError
from rlpipe.engines.worker import rlpipe_supervise

if TYPE_CHECKING:
    import httpx2

TAIL = 2000
"""Characters of a server's log that an error shows."""


class Unreachable(Exception):
    """The server does not answer any more, or says that it is broken."""


class Child:
    """A server that this run has started."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path, scratch: Sequence[Path]):
        """Start it; what it says goes to `log`. Where the run is killed, it ends, and `scratch` is deleted."""
        self.log = log
        with open(self.log, "ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, rlpipe_supervise.__file__, os.pathsep.join(map(str, scratch)), *command],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def ended(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """Return the end of what it wrote."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return text[-TAIL:].strip()

    def stop(self) -> None:
        """End it, and wait for that."""
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            with suppress(BrokenPipeError):  # it has ended already
                self._process.stdin.write(b".")
                self._process.stdin.close()
        self._process.wait()


class Client:
    """Talks to a server; completions are answered into `answers` while others are waited for."""

    def __init__(self, url: str, socket: Path | None, key_env: str | None, timeout: float):
        """Prepare to talk to `url`, through a Unix socket where one is given. A request may take `timeout` seconds."""
        import httpx2

        key = os.environ.get(key_env, "").strip() if key_env is not None else ""
        self._options: dict[str, Any] = {
            "base_url": url,
            "timeout": httpx2.Timeout(timeout, connect=10.0, pool=None),
            "headers": {"Authorization": f"Bearer {key}"} if key else {},
        }
        self._limits = httpx2.Limits(max_connections=None)
        self._socket = None if socket is None else str(socket)
        transport = httpx2.HTTPTransport(uds=self._socket, limits=self._limits)
        self._client = httpx2.Client(transport=transport, **self._options)
        self.answers: SimpleQueue[tuple[Any, dict[str, Any] | Exception]] = SimpleQueue()
        """What `ask` was given as a mark, with the answer or why there is none."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._waiting: httpx2.AsyncClient | None = None

    def get(self, path: str) -> Any:
        """Return an answer; None for one that is no JSON. Raises Unreachable and ModelError."""
        return self._answer(lambda: self._client.get(path), path)

    def post(self, path: str, body: Any) -> Any:
        """The same, with a body of its own."""
        return self._answer(lambda: self._client.post(path, json=body), path)

    def ask(self, path: str, body: Any, mark: Any) -> None:
        """Post without waiting."""
        asyncio.run_coroutine_threadsafe(self._ask(path, body, mark), self._loop)

    def close(self) -> None:
        """Forget all requests."""

        async def end() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            if self._waiting is not None:
                await self._waiting.aclose()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._client.close()

    async def _ask(self, path: str, body: Any, mark: Any) -> None:
        import httpx2

        if self._waiting is None:
            transport = httpx2.AsyncHTTPTransport(uds=self._socket, limits=self._limits)
            self._waiting = httpx2.AsyncClient(transport=transport, **self._options)
        try:
            response = await self._waiting.post(path, json=body)
            answer: dict[str, Any] | Exception = _read(response, path)
        except (httpx2.HTTPError, OSError) as error:
            answer = Unreachable(f"{type(error).__name__}: {error}")
        except Exception as error:  # whatever it is: the run waits for an answer
            answer = error
        self.answers.put((mark, answer))

    def _answer(self, send: Any, path: str) -> Any:
        import httpx2

        try:
            return _read(send(), path)
        except (httpx2.HTTPError, OSError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error


def _read(response: httpx2.Response, path: str) -> Any:
    if response.is_server_error:
        raise Unreachable(f"HTTP {response.status_code}: {response.text[:TAIL]}")
    if not response.is_success:
        what = f"the server refuses {path}: HTTP {response.status_code}: {response.text[:TAIL]}"
        raise ModelError("engine", what, "its version may not fit; start it as docs/engines.md says")
    is_json = response.headers.get("Content-Type", "").startswith("application/json")
    try:
        return response.json() if is_json and response.content else None
    except ValueError as error:
        raise Unreachable(f"its answer is no JSON: {error}") from error


def wait_until_healthy(client: Client, child: Child | None, patience: float) -> None:
    """Wait until a server answers. Raises ModelError where it ends before, or does not within `patience` seconds."""
    deadline = time.monotonic() + patience
    why = "no answer"
    while True:
        if child is not None and child.ended is not None:
            what = f"the server ended while it started (exit code {child.ended}); it said:\n{child.output()}"
            raise ModelError("engine", what, "fix what it names, or set engine=transformers")
        try:
            client.get("/health")
            return
        except Unreachable as error:
            why = str(error)
        if time.monotonic() > deadline:
            shown = f"; it said:\n{child.output()}" if child is not None else ""
            what = f"the server does not answer within {patience:g} s ({why}){shown}"
            raise ModelError("engine", what, "raise engine.patience, or look at the server")
        time.sleep(0.2)
