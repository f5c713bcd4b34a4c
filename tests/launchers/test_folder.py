"""A sweep's folder must be one that jobs on other nodes can use."""

from __future__ import annotations

from rlpipe.launchers import folder as module
from rlpipe.launchers.folder import folder_problems


def test_a_folder_that_others_cannot_see_or_nobody_write(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LOCAL", (str(tmp_path),))
    (local,) = folder_problems(tmp_path / "sweep")
    assert not local.fatal
    assert "a disk of this machine alone" in str(local)
    monkeypatch.setattr(module.os, "access", lambda *_: False)
    (closed,) = folder_problems(tmp_path / "sweep")
    assert closed.fatal
    assert "cannot be written" in str(closed)
