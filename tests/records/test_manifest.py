"""The manifest is kept twice: whatever happens to one of the two, the run goes on."""

from __future__ import annotations

import json
import shutil

import pytest

from rlpipe.core.errors import RecordError
from rlpipe.records import manifest
from rlpipe.records.record import Record, Status
from rlpipe.records.runs import Standing, find

CONFIG = {"method": {"name": "dpo"}, "seed": 0, "until": "evaluate"}
BROKEN = {
    "nothing": b"",
    "torn": b'{"id": "abc", "conf',
    "NULs": bytes(200),
    "no UTF-8": b"\xff\xfe\x00",
    "a list": b"[]",
    "a number": b"3",
    "empty": b"{}",
    "attempts": b'{"config": {}, "overrides": [], "attempts": 3}',
    "an attempt": b'{"config": {}, "overrides": [], "attempts": [null]}',
    "a config": b'{"config": [], "overrides": []}',
    "an override": b'{"config": {}, "overrides": [1]}',
    "seals": b'{"config": {}, "overrides": [], "files": {"a": "b"}}',
    "deep": b"[" * 100_000,
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped") / "run"
    record = Record.open(folder, CONFIG)
    record.log_metrics(1, {"loss": 1.0})
    record.finish(Status.stopped, "train", cost={"steps": 1})
    return folder


@pytest.fixture
def folder(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "run")


@pytest.mark.parametrize("name", [manifest.FILE, manifest.COPY])
@pytest.mark.parametrize("content", [None, *BROKEN.values()], ids=["gone", *BROKEN])
def test_one_of_the_two_is_enough(folder, name, content):
    before = json.loads((folder / name).read_bytes())
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    [run] = find([folder])
    assert (run.standing, run.id) == (Standing.stopped, before["id"])
    record = Record.open(folder, CONFIG)
    assert record.manifest["id"] == before["id"]
    assert len(record.manifest["attempts"]) == 2
    record.finish(Status.ok, "evaluate")
    assert [json.loads((folder / one).read_bytes()) for one in (manifest.FILE, manifest.COPY)] == [record.manifest] * 2


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_where_neither_can_be_used_that_is_said_and_the_advice_helps(folder, content):
    backup = (folder / manifest.FILE).read_bytes()
    for name in (manifest.FILE, manifest.COPY):
        (folder / name).write_bytes(content)
    [run] = find([folder])
    assert run.standing is Standing.damaged
    assert "manifest.json: damaged" in run.error
    with pytest.raises(RecordError, match=r"manifest\.json: damaged .*\n .* put manifest\.json or manifest\.copy"):
        Record.open(folder, CONFIG)
    (folder / manifest.COPY).write_bytes(backup)
    assert len(Record.open(folder, CONFIG).manifest["attempts"]) == 2
