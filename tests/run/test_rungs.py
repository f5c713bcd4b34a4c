"""A run that is judged at rungs: it ends as pruned, decides the same again, and goes on where it is extended."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rlpipe.core.errors import Pruned
from rlpipe.records import rungs
from rlpipe.records.record import read_result
from rlpipe.records.rungs import Rungs
from rlpipe.records.runs import Standing, find
from tests.run.test_watch import CASES, WATCHED, execute, watched, weights

OVERRIDES = [*CASES["dpo"], *WATCHED, "watch.metric=preference/score", "method.max_steps=6"]


@pytest.fixture
def judged(tmp_path):
    """Rungs at steps 2 and 4 where another arm was much better at the second."""
    better = Rungs(tmp_path / "rungs", "9", "better", 3, (2, 4))
    ours = replace(better, arm="0", setting="ours")
    better.judge(4, 1e9, True)
    token = rungs.current.set(ours)
    yield ours
    rungs.current.reset(token)


@pytest.mark.slow
def test_an_arm_that_does_not_go_on_is_pruned_and_can_be_extended(tmp_path: Path, judged, monkeypatch):
    from rlpipe.run.rungs import JudgedAtRungs
    from rlpipe.training import callbacks

    step_end = JudgedAtRungs.on_step_end

    def killed(self, args, state, control, **kwargs):
        step_end(self, args, state, control, **kwargs)
        if state.global_step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(JudgedAtRungs, "on_step_end", killed)
        with pytest.raises(KeyboardInterrupt):  # after its report, before the checkpoint and the end
            execute(tmp_path / "run", *OVERRIDES)
    report = json.loads((judged.folder / "4" / "2.json").read_text())
    for number in range(3, 7):
        replace(judged, arm=str(number), setting=str(number)).judge(4, -1e9, True)
    with pytest.raises(Pruned, match=r"place 2 of 2 by preference/score .* at step 4"):
        execute(tmp_path / "run", *OVERRIDES)
    result = read_result(tmp_path / "run")
    assert (result["status"], result["cost"]["steps"]) == ("pruned", 4)
    assert sorted(watched(tmp_path / "run")) == [0, 2, 4]
    assert report["value"] == watched(tmp_path / "run")[4]["watch/preference/score"]
    assert not (tmp_path / "run" / "model").exists()
    [run] = find([tmp_path / "run"])
    assert run.standing is Standing.pruned
    assert "place 2 of 2" in run.error

    monkeypatch.setattr(callbacks.ShowProgress, "on_step_end", None)  # no step is made again
    with pytest.raises(Pruned):
        execute(tmp_path / "run", *OVERRIDES)
    monkeypatch.undo()

    rungs.current.set(replace(judged, extended=True))
    extended = execute(tmp_path / "run", *OVERRIDES)
    rungs.current.set(None)
    whole = execute(tmp_path / "whole", *OVERRIDES)
    assert extended["status"] == "ok"
    assert extended["metrics"] == whole["metrics"]
    assert weights(tmp_path / "run") == weights(tmp_path / "whole") != {}
    assert whole["metrics"]["watch/kept"] == watched(tmp_path / "whole")[6]["watch/preference/score"]
