"""A launcher from outside: one file and two lines of TOML, without YAML, run a sweep."""

from __future__ import annotations

import json
import re

import pytest

from rlpipe.core.errors import LaunchError
from rlpipe.launchers.base import launcher_of
from rlpipe.records.sweep import Sweep
from tests.config.test_outside import distribution, python, rlpipe, site  # noqa: F401

MODULE = '''
"""Chain: one job after the other, in a process of its own."""

import os
import signal
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rlpipe.core.errors import Problem
from rlpipe.launchers.base import JobStatus, Launcher, LauncherConfig, Phase, job_command, job_environment
from rlpipe.records.sweep import Ended, Sweep, cancelled, lost

FINAL = (Ended.ok, Ended.failed, Ended.cancelled)


@dataclass
class ChainConfig(LauncherConfig):
    """How long it waits."""

    pause: float = 0.0
    """Seconds between two jobs; below 0 none is started."""


class Chain(Launcher):
    """Runs jobs one after the other."""

    Config = ChainConfig

    def problems(self):
        """Refuse a negative pause."""
        wrong = Problem("hydra.launcher.pause", f"{self.config.pause} is below 0", "give 0 or more")
        return [wrong] if self.config.pause < 0 else []

    def submit(self, jobs):
        """Start the chain."""
        chain = subprocess.Popen([sys.executable, __file__, str(self.sweep.folder), *(job.key for job in jobs)])
        self.sweep.submitted("chain", [job.key for job in jobs], pid=chain.pid)

    def statuses(self, jobs):
        """Return what the outcomes say."""
        known = {key for row in self.sweep.submissions for key in row["keys"]}
        outcomes = {job.key: self.sweep.outcome(job) for job in jobs if job.key in known}
        ended = {key for key, outcome in outcomes.items() if outcome is not None and outcome.ended in FINAL}
        return {key: JobStatus(Phase.gone if key in ended else Phase.running, f"link-{key}") for key in outcomes}

    def cancel(self, jobs):
        """End the whole chain."""
        os.kill(self.sweep.submissions[-1]["pid"], signal.SIGTERM)
        for job in jobs:
            cancelled(self.sweep, job, "cancelled by hand")


def main(folder, *keys):
    sweep = Sweep.load(folder)
    for job in [job for job in sweep.jobs if job.key in keys]:
        with open(sweep.job_folder(job) / "log.txt", "ab") as log:
            environment = job_environment(f"link-{job.key}")
            done = subprocess.run(
                job_command(sweep.job_folder(job)), cwd=sweep.data["cwd"], env=environment, stdout=log, stderr=log
            )
        if sweep.outcome(job) is None or sweep.outcome(job).ended not in FINAL:
            lost(sweep, job, f"exit code {done.returncode}")


if __name__ == "__main__":
    main(*sys.argv[1:])
'''
ENTRY = "[rlpipe.launcher]\nchain = chain:Chain\n"
TINY = (
    *("model=blank", "model.hidden_size=16", "model.layers=1", "model.heads=2", "model.kv_heads=1"),
    *("method=sft", "dataset=smoltalk", "dataset.sample_size=32", "method.max_steps=1", "method.max_length=128"),
    *("evaluation=none", "hardware.device=cpu", "log.progress=false", "hydra.sweep.dir=sweep"),
)


@pytest.mark.slow
def test_it_runs_a_sweep(site):  # noqa: F811
    distribution(site, "chain", ENTRY, chain=MODULE)
    assert re.search(r"chain +Runs jobs one after the other\.", rlpipe(site, "--help"))
    told = rlpipe(site, "hydra/launcher=chain", "--help")
    assert "hydra.launcher.pause: float = 0.0\n      Seconds between two jobs" in told
    refused = python(site, "rlpipe", "-m", *TINY, "hydra/launcher=chain", "hydra.launcher.pause=-1", "seed=0,1")
    assert refused.returncode == 2
    assert "hydra.launcher.pause: -1.0 is below 0" in refused.stderr
    rlpipe(site, "-m", *TINY, "hydra/launcher=chain", "seed=0,1")
    (folder,) = site.rglob("sweep.json")
    sweep = Sweep.load(folder.parent)
    assert sweep.data["launcher"] == "chain"
    assert [sweep.outcome(arm).ended.value for arm in sweep.arms] == ["ok", "ok"]
    assert [sweep.outcome(arm).job_id for arm in sweep.arms] == ["link-0", "link-1"]
    results = [json.loads((folder.parent / arm.key / "result.json").read_text()) for arm in sweep.arms]
    assert [one["status"] for one in results] == ["ok", "ok"]


@pytest.mark.slow
def test_a_broken_one_matters_only_if_it_is_chosen(site):  # noqa: F811
    distribution(site, "chain", ENTRY, chain="import not_there\n")
    rlpipe(site, "model=blank", "until=check")
    done = python(site, "rlpipe", "-m", *TINY, "hydra/launcher=chain", "seed=0,1")
    assert done.returncode == 2
    assert "hydra/launcher=chain: the plugin of package 'chain' cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sweep_whose_launcher_is_not_installed_says_so(tmp_path):
    sweep = Sweep.create(tmp_path / "sweep", launcher="slrum", settings={})
    with pytest.raises(LaunchError, match=r"its launcher 'slrum' is not installed here\n    → did you mean 'slurm'\?"):
        launcher_of(sweep)
