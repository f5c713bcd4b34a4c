"""What the hub's answers become: a fake hub in a process of its own, for the client reads its address at import."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from rlpipe.core.errors import ModelError
from rlpipe.hub.files import locate

FAKE_HUB = """
import http.server, json, os, sys, threading

class Hub(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.split("?")[0]
        if name.startswith("/api/models/org/gated/tree"):
            self.answer(200, body=[{"type": "file", "path": "config.json", "oid": "b" * 40, "size": 2}])
        elif name.startswith("/api/models/org/gated"):
            self.answer(200, body={"id": "org/gated", "sha": "a" * 40, "siblings": [{"rfilename": "config.json"}]})
        elif "org/gated" in name:
            self.answer(403, "GatedRepo")
        elif "revision/nope" in name:
            self.answer(404, "RevisionNotFound")
        else:
            self.answer(401, "RepoNotFound")
    do_HEAD = do_GET

    def answer(self, status, code=None, body=None):
        text = json.dumps(body or {"error": code}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(text)

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"

from rlpipe.core.errors import ModelError
from rlpipe.hub.files import locate

answers = {}
for source, revision in (("org/gated", None), ("org/unknown", None), ("org/model", "nope"), ("org/bad..name", None)):
    try:
        locate(source, revision)
    except ModelError as error:
        answers[source] = str(error)
print(json.dumps({"answers": answers, "torch": "torch" in sys.modules}))
"""


def run(code: str, home: object, **environment: str) -> str:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    env = {**inherited, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", **environment}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_refusals(tmp_path):
    told = json.loads(run(FAKE_HUB, tmp_path).splitlines()[-1])
    answers = told["answers"]
    assert "licence" in answers["org/gated"]
    assert "hf auth login" in answers["org/gated"]
    assert "no such model" in answers["org/unknown"]
    assert "no revision 'nope'" in answers["org/model"]
    assert "not a valid hub id" in answers["org/bad..name"]
    assert not told["torch"]


@pytest.mark.timeout(60)
def test_unreachable_hub_is_told_and_not_waited_for(tmp_path):
    code = (
        "from rlpipe.core.errors import ModelError\n"
        "from rlpipe.hub.files import locate\n"
        "try:\n    locate('org/model', None)\n"
        "except ModelError as error:\n    print(error)\n"
    )
    told = run(code, tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert "cannot be reached" in told
    assert "model=tiny" in told


def test_offline_without_a_copy():
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        locate("org/never-fetched", None)


@pytest.mark.parametrize("source", ["./nowhere", "/no/such/folder", "a/b/c", "word"])
def test_no_such_folder(source):
    with pytest.raises(ModelError, match="no such folder"):
        locate(source, None)


def test_file_and_revision_of_a_folder(tmp_path):
    with pytest.raises(ModelError, match="no revisions"):
        locate(str(tmp_path), "main")
    (tmp_path / "weights.bin").touch()
    with pytest.raises(ModelError, match="is a file"):
        locate(str(tmp_path / "weights.bin"), None)


def test_folder_is_itself(tmp_path):
    assert locate(str(tmp_path), None) == (tmp_path, [])
