"""Speaks like vLLM's API server on a Unix socket, and draws what a request's seed says. Standard library alone.

Its folder (the environment's FAKE) holds `said.jsonl`, all that it was asked, and may hold files that tell it what to
do: `dies` (a number of completions after which it kills itself, once), `deaf` (it never gets healthy), `refuses`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

FAKE = Path(os.environ["FAKE"])
DRAWN = threading.Lock()
count = 0


def drawn(body: dict) -> dict:
    """Return a completion of one to four tokens that depends on the request alone."""
    draw = random.Random(f"{body['prompt']}{body['seed']}")
    ids = [draw.randrange(300, 900) for _ in range(min(body["max_tokens"], draw.randint(1, 4)))]
    return {"choices": [{"token_ids": ids, "logprobs": {"token_logprobs": [-0.5] * len(ids)}}]}


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...

    def address_string(self) -> str:
        return "local"

    def answer(self, code: int, body: object = None) -> None:
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(code)
        if body is not None:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self) -> None:
        self.answer(503 if (FAKE / "deaf").exists() else 200)

    def do_POST(self) -> None:
        global count
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with DRAWN:
            with open(FAKE / "said.jsonl", "a") as said:
                said.write(json.dumps({"path": self.path, "pid": os.getpid(), **body}) + "\n")
            if self.path == "/v1/completions":
                count += 1
                dies = FAKE / "dies"
                if dies.exists() and count > int(dies.read_text()):
                    dies.unlink()
                    os.kill(os.getpid(), signal.SIGKILL)
        if (FAKE / "refuses").exists():
            self.answer(400, {"error": "no such model"})
        else:
            self.answer(200, drawn(body) if self.path == "/v1/completions" else None)


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None: ...  # who asked is gone


if __name__ == "__main__":
    print("fake server starts")
    if (FAKE / "broken").exists():
        sys.exit("no kernel image is available")
    (FAKE / "pid").write_text(str(os.getpid()))
    Server(sys.argv[sys.argv.index("--uds") + 1], Handler).serve_forever()
