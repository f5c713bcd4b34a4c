"""A real Ray in a temporary folder: a head on this machine, with two GPUs that are none."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.launchers.slurm.processes import free_ports


class Head:
    """One head. `start` it, set `address` for what talks to it, `stop` it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ray.", dir="/tmp"))  # sockets want short paths
        self.port = free_ports(4)
        self.address = f"http://127.0.0.1:{self.port + 1}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
            *(f"--port={self.port}", f"--dashboard-port={self.port + 1}"),
            *(f"--ray-client-server-port={self.port + 2}", f"--dashboard-agent-listen-port={self.port + 3}"),
            *("--min-worker-port=0", "--max-worker-port=0"),  # else ten thousand, ours among them
            *("--num-cpus=4", "--num-gpus=2", "--object-store-memory=80000000", f"--temp-dir={self.folder}"),
        ]
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
        with open(self.folder / "head.out", "ab") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
            )
        until = time.monotonic() + 180
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "head.out").read_text()
            assert time.monotonic() < until, "the head does not answer"
            time.sleep(0.5)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/api/version", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False
