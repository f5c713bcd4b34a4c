"""Runs of several processes and nodes, and requests to stop that reach all of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from rlpipe.config.launchers import SlurmConfig
from rlpipe.launchers.slurm.ranks import command, port

ENVIRONMENT = {"SLURM_JOB_ID": "17", "SLURM_NODEID": "1", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1"}


def test_one_process_needs_no_torchrun():
    assert command(SlurmConfig(gpus=1), Path("/s/0"), {}) == [sys.executable, "-u", "-m", "rlpipe.sweep.job", "/s/0"]


def test_several_gpus_or_nodes_are_torchrun_s():
    told = command(SlurmConfig(gpus=4, nodes=2), Path("/s/0"), ENVIRONMENT)
    assert {"torch.distributed.run", "--nnodes=2", "--nproc-per-node=4", "--node-rank=1"} <= set(told)
    assert {"--master-addr=10.0.0.1", f"--master-port={port('17')}"} <= set(told)
    assert told[-3:] == ["-m", "rlpipe.sweep.job", "/s/0"]


def test_a_container_brings_its_own_python():
    told = command(SlurmConfig(container="apptainer exec --nv 'my image.sif'"), Path("/s/0"), {})
    assert told[:5] == ["apptainer", "exec", "--nv", "my image.sif", "python"]


class Together:
    """Steps of several processes that agree, after each, whether to stop."""

    def __init__(self, folder: Path, count: int):
        self.folder, self.count = folder, count

    def __call__(self) -> None:
        import time

        from rlpipe.core import distributed
        from rlpipe.core.errors import Stopped
        from rlpipe.core.signals import stop_requests

        distributed.start(on_cpu=True)
        self.folder.mkdir(exist_ok=True)
        try:
            with stop_requests() as stop:
                saved = self.folder / "saved"
                begun = distributed.broadcast(int(saved.read_text()) if saved.exists() else 0)
                ranks = distributed.gather((distributed.rank(), os.environ["SLURMD_NODENAME"]))
                for step in range(begun, self.count):
                    time.sleep(0.1)
                    distributed.barrier()
                    if distributed.is_main():
                        with open(self.folder / "steps.txt", "a") as lines:
                            lines.write(f"{step} {len(ranks)} {len({node for _, node in ranks})}\n")
                    if distributed.any_rank(stop.requested) and step + 1 < self.count:
                        if distributed.is_main():
                            saved.write_text(str(step + 1))
                        raise Stopped("", f"stopped after step {step}", "")
        finally:
            distributed.finish()

    @property
    def rows(self) -> list[list[int]]:
        path = self.folder / "steps.txt"
        return [[int(word) for word in line.split()] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.parametrize(("name", "processes"), [("USR2", 2), ("TERM", 1)])
def test_an_arm_on_two_nodes_is_one_run_that_stops_and_goes_on_together(study, cluster, tmp_path, name, processes):
    work = Together(tmp_path / "run", 40)
    made = study({"0": work}, nodes=2, processes=processes, cpus=2, memory="1500M")
    made.launcher.submit(made.sweep.jobs)
    made.until(lambda: len(work.rows) > 4)
    cluster.call("scancel", f"--signal={name}", made.job_id("0"))
    made.until(lambda: made.ended("0") == "stopped")
    made.until(lambda: made.ended("0") == "ok")
    assert work.rows == [[step, 2 * processes, 2] for step in range(40)]
    assert made.outcome("0").attempt == 2


@pytest.mark.slow
@pytest.mark.slurm
def test_an_arm_of_which_one_process_fails_fails_as_a_whole(study):
    def arm():
        from rlpipe.core import distributed

        distributed.start(on_cpu=True)
        if distributed.rank() == 1:
            raise ValueError("rank 1 is unwell")
        distributed.barrier()

    made = study({"0": arm}, nodes=2, memory="1500M")
    made.launcher.submit(made.sweep.jobs)
    assert made.all_over() == {"0": "failed"}
    assert "ValueError: rank 1 is unwell" in made.log("0")
