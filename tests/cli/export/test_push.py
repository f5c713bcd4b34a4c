"""Uploading: the real client against a hub that notes what it is sent, and what is told when there is none."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rlpipe.cli.export import push
from rlpipe.core.errors import RlpipeError
from tests import warm

ROOT = Path(__file__).parents[3]
TOKEN = "hf_thisIsNobodysToken"


class Hub(ThreadingHTTPServer):
    """As much of the hub's API as one upload needs."""

    def __init__(self, refuse: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.refuse = refuse
        self.asked: list[tuple[str, str]] = []
        self.tokens: set[str | None] = set()
        self.created: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, code: int, value: Any, **headers: str) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(body)

    def note(self) -> None:
        self.server.asked.append((self.command, self.path.partition("?")[0]))
        self.server.tokens.add(self.headers.get("Authorization"))

    def do_GET(self) -> None:
        self.note()
        self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")

    def do_POST(self) -> None:
        self.note()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub = self.server
        if hub.refuse is not None:
            self.answer(hub.refuse, {"error": "You have no right to do that"})
        elif self.path.endswith("/repos/create"):
            hub.created = json.loads(body)
            self.answer(200, {"url": f"{hub.address}/me/toy", "name": "me/toy", "id": "me/toy"})
        elif "/preupload/" in self.path:
            files = [{"path": one["path"], "uploadMode": "regular"} for one in json.loads(body)["files"]]
            self.answer(200, {"files": [{**one, "shouldIgnore": False, "oid": None} for one in files]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    hub.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(200, {"success": True, "commitUrl": f"{hub.address}/me/toy/commit/0", "commitOid": "0" * 40})
        else:
            self.answer(200, {})


@pytest.fixture
def hub(request: pytest.FixtureRequest) -> Iterator[Hub]:
    server = Hub(getattr(request, "param", None))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def export(folder: Path, endpoint: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the command in a process of its own."""
    own = {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN, "HF_HOME": str(folder / "home")}
    return warm.run("tests.cli.export.fresh_hub", "export", *arguments, cwd=ROOT, env={**own, **environment})


@pytest.mark.slow
def test_every_file_arrives_as_it_is_with_the_users_token(trained_run, tmp_path, hub):
    out = tmp_path / "out"
    done = export(tmp_path, hub.address, str(trained_run), str(out), "--push", "me/toy", "--private")
    assert done.returncode == 0, done.stderr
    assert hub.created["name"] == "toy"
    assert hub.created["organization"] == "me"
    assert hub.created.get("private") is True or hub.created.get("visibility") == "private"
    assert hub.tokens == {f"Bearer {TOKEN}"}
    written = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {name: content for name, content in hub.files.items() if name != ".gitattributes"} == written
    assert done.stdout.splitlines() == [str(out), f"{hub.address}/me/toy/commit/0"]
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("hub", [403], indirect=True)
def test_a_hub_that_refuses_is_told_and_the_folder_is_kept(trained_run, tmp_path, hub):
    done = export(tmp_path, hub.address, str(trained_run), str(tmp_path / "out"), "--push", "me/toy")
    assert done.returncode == 2
    assert "--push me/toy: the hub refused it (403" in done.stderr
    assert "your token may write there" in done.stderr
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hub_out_of_reach_is_told_before_anything_is_written(trained_run, tmp_path):
    done = export(tmp_path, "http://127.0.0.1:9", str(trained_run), str(tmp_path / "out"), "--push", "me/toy")
    assert done.returncode == 2
    assert "the hub cannot be reached" in done.stderr
    assert not (tmp_path / "out").exists()


def test_offline_without_a_token_or_with_a_wrong_name_it_says_so(monkeypatch, tmp_path):
    import huggingface_hub

    with pytest.raises(RlpipeError, match="no name for a repository"):
        push.check("a/b/c")
    with pytest.raises(RlpipeError, match="HF_HUB_OFFLINE is set"):
        push.check("me/toy")
    monkeypatch.setattr(huggingface_hub.constants, "is_offline_mode", lambda: False)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(RlpipeError, match=r"no token of yours is here\n.*hf auth login"):
        push.check("me/toy")
