"""A real SLURM in a temporary folder: controller, nodes and munge as the calling user, on loopback only.

Nodes are made up (4 CPUs, 4000 MB, two GPUs that are /dev/null), and the waiting times that a site has long are short.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.launchers.slurm.processes import (
    alive,
    command,
    environment,
    files,
    free_ports,
    kill,
    processes,
    send,
    until,
    wait,
)

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
NODES = ("n1", "n2")

CONFIG = """\
ClusterName=rlpipe
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
PlugStackConfig={folder}/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_min_interval=0,batch_sched_delay=0,sched_interval=2,defer_batch,requeue_delay=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=0
KillWait=5
WaitTime=0
InactiveLimit=0
MinJobAge=3600
MaxArraySize={largest_array}
CompleteWait=0
TCPTimeout=5
MessageTimeout=10
SlurmctldTimeout=60
SlurmdTimeout=8
HealthCheckInterval=0
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=5 PreemptMode=OFF
PartitionName=low Nodes=ALL MaxTime=60 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=high Nodes=ALL MaxTime=60 State=UP PriorityTier=9 PreemptMode=OFF
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 Boards=1 SocketsPerBoard=1 "
    "CoresPerSocket=4 ThreadsPerCore=1 RealMemory=4000 Gres=gpu:2 State=UNKNOWN\n"
)


class Cluster:
    """One SLURM. `start` it, set `environment` for what talks to it, `stop` it."""

    largest_array = 20

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm.", dir="/tmp"))  # sockets want short paths
        self.folder.chmod(0o755)
        self.host = socket.gethostname().split(".")[0]
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}

    @staticmethod
    def missing() -> list[str]:
        return [name for name in PROGRAMS if _program(name) is None]

    def start(self) -> None:
        self._write()
        self._munge()
        self.start_controller()
        for name in NODES:
            self.start_node(name)
        self.wait_idle()

    def stop(self) -> None:
        try:
            if self.alive("slurmctld.pid"):
                self.call("scancel", "--full", "--quiet", f"--user={getpass.getuser()}", check=False)
                self.call("scancel", "--quiet", "--state=PENDING", f"--user={getpass.getuser()}", check=False)
                wait(lambda: not self.call("squeue", "--noheader", check=False).strip(), 10)
        finally:
            for name in ("slurmctld.pid", *(f"slurmd-{node}.pid" for node in NODES), "munge/pid"):
                self._end(name, signal.SIGTERM)
            for node in NODES:  # one that waits for an answer of the controller outlives all others
                kill(self._on(node))
            shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **self.environment}, timeout=60
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def start_controller(self) -> None:
        self._daemon("slurmctld", "-f", self.environment["SLURM_CONF"])
        until(lambda: "UP" in self.call("scontrol", "ping", check=False), 60)

    def stop_controller(self) -> None:
        self._end("slurmctld.pid", signal.SIGTERM)

    def start_node(self, name: str) -> None:
        self._daemon("slurmd", "-N", name, "-f", self.environment["SLURM_CONF"])

    def lose_node(self, name: str) -> None:
        """Kill a node with all that runs on it, as a power cut does."""
        running = self._on(name)
        self._end(f"slurmd-{name}.pid", signal.SIGKILL)
        kill(running)

    def wait_idle(self, nodes: tuple[str, ...] = NODES) -> None:
        def idle() -> bool:
            rows = self.call("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %t", check=False)
            return {f"{name} idle" for name in nodes} <= {row.strip() for row in rows.splitlines()}

        until(idle, 180)

    def alive(self, pid_file: str) -> bool:
        pid = self._pid(pid_file)
        return pid is not None and alive(pid)

    def _on(self, node: str) -> list[int]:
        """Return the processes of jobs on a node, and of SLURM's own that look after them."""
        log = str(self.folder / f"slurmd-{node}.log")
        ours, here = f"SLURM_CONF={self.environment['SLURM_CONF']}", f"SLURMD_NODENAME={node}"
        found = [pid for pid in processes() if {ours, here} <= set(environment(pid))]
        return found + [pid for pid in processes() if command(pid).startswith("slurmstepd") and log in files(pid)]

    def _write(self) -> None:
        base = free_ports(2 + len(NODES))
        for name in ("munge", "state", "spool", "dev"):
            (self.folder / name).mkdir()
        text = CONFIG.format(
            host=self.host,
            controller=base,
            port=base + 1,
            folder=self.folder,
            user=getpass.getuser(),
            largest_array=self.largest_array,
        )
        gpus = ""
        for place, name in enumerate(NODES):
            text += NODE.format(name=name, host=self.host, port=base + 2 + place)
            gpus += f"NodeName={name} Name=gpu File={self.folder}/dev/nvidia[0-1]\n"
            (self.folder / "spool" / name).mkdir()
        for number in (0, 1):  # slurmd wants character devices, and takes links to one
            (self.folder / "dev" / f"nvidia{number}").symlink_to("/dev/null")
        written = {"slurm.conf": text, "gres.conf": gpus, "plugstack.conf": "", "cgroup.conf": "CgroupAutomount=no\n"}
        for name, content in written.items():
            (self.folder / name).write_text(content)

    def _munge(self) -> None:
        place = self.folder / "munge"
        place.chmod(0o755)
        (place / "key").write_bytes(os.urandom(1024))
        (place / "key").chmod(0o600)
        where = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._daemon(
            "munged", "--force", "--num-threads=2", *(f"--{one}={place / name}" for one, name in where.items())
        )
        until((place / "pid").exists, 60)

    def _daemon(self, name: str, *arguments: str) -> None:
        program = _program(name)
        assert program is not None
        with open(self.folder / f"{name}.out", "ab") as output:
            subprocess.run(
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=True,
                env={**os.environ, **self.environment},
            )

    def _pid(self, pid_file: str) -> int | None:
        path = self.folder / pid_file
        text = path.read_text().strip() if path.exists() else ""
        return int(text) if text else None

    def _end(self, pid_file: str, number: signal.Signals) -> None:
        pid = self._pid(pid_file)
        if pid is not None and alive(pid):
            send(pid, number)
            if not wait(lambda: not alive(pid), 10):
                send(pid, signal.SIGKILL)
                until(lambda: not alive(pid), 10)
        (self.folder / pid_file).unlink(missing_ok=True)


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
