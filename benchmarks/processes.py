"""Whole commands, from typing them to their end: Python's start, imports, and what is done once for many runs.

`one-step` and `fifty-steps` are DPO from the same checkpoint, rows and rate, saved in the end, against `trl dpo` with
its defaults and with its best flags. `sweep` is SFT and then eight arms of DPO that differ in beta: one command of
rlpipe's, and nine of TRL's, `trl sft` and eight times `trl dpo` from what it made, one after another. `rehearsal`
is a sweep with `until=check`: composing and checking every arm.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.frame import Case, Machine, Turn
from benchmarks.training import BATCH, RATE, SHORT, Training

BETAS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
SUBREAPER = 36
"""Linux's PR_SET_CHILD_SUBREAPER: processes whose parent has ended become ours, so that their time can be counted."""


class Commands(Case):
    """DPO by command lines."""

    sides = ("rlpipe", "trl", "trl flags")
    warms_up = False

    def __init__(self, name: str, what: str, steps: int, arms: int = 1):
        """Take how many steps a run has, and how many arms the sweep; one is no sweep."""
        super().__init__(name, what)
        self.steps, self.arms = steps, arms
        self.training = Training(name, what, "dpo", SHORT)

    def make(self, folder: Path, machine: Machine) -> None:
        """Write the checkpoint, the rows, and the chosen answers alone for TRL's SFT."""
        self.training.make(folder, machine)
        (folder / "chosen").mkdir()
        rows = map(json.loads, (folder / "data" / "train.jsonl").read_text().splitlines())
        lines = [json.dumps({"prompt": row["prompt"], "completion": row["chosen"]}) for row in rows]
        (folder / "chosen" / "train.jsonl").write_text("\n".join(lines))

    def prepare(self, side: str, folder: Path, machine: Machine) -> Turn:
        """Return the commands of a side, with folders and a store that are new each time."""

        def turn() -> None:
            with tempfile.TemporaryDirectory() as out:
                for command in self._commands(side, folder, Path(out), machine):
                    whole(command, {"RLPIPE_STORE": f"{out}/store"})

        return turn

    def _commands(self, side: str, folder: Path, out: Path, machine: Machine) -> list[list[str]]:
        start, data = folder / "made" / "start", folder / "data"
        if side == "rlpipe":
            given = ["model=hf", f"model.source='{start}'", *self.training.given(folder, machine), "until=train"]
            command = [sys.executable, "-m", "rlpipe", *given, f"method.max_steps={self.steps}"]
            if self.arms == 1:
                return [[*command, f"run_dir='{out}/run'"]]
            first = f"method=sft,method.max_steps={self.steps},method.batch_size={BATCH},method.learning_rate={RATE}"
            arms = [f"after=[{first}]", f"method.beta={','.join(map(str, BETAS))}"]
            return [[*command, "-m", *arms, "hydra.launcher.jobs=1", f"hydra.sweep.dir='{out}/sweep'"]]
        flags = ["--gradient_checkpointing", "false", "--precompute_ref_log_probs", "true"] if side != "trl" else []
        device = ["--use_cpu", "true"] if machine.device == "cpu" else []
        precision = ["--bf16", str(machine.precision == "bfloat16").lower()]
        trl = Path(sys.executable).parent / "trl"
        same = ["--max_steps", self.steps, "--per_device_train_batch_size", BATCH, "--learning_rate", RATE]
        same += ["--report_to", "none", *device, *precision]
        dpo = [trl, "dpo", "--dataset_name", data, *same, *flags, "--model_name_or_path"]
        if self.arms == 1:
            lines = [[*dpo, start, "--output_dir", out]]
        else:
            first = [trl, "sft", "--dataset_name", folder / "chosen", *same, *flags[:2], "--model_name_or_path", start]
            lines = [[*first, "--output_dir", out / "sft"]]
            lines += [[*dpo, out / "sft", "--beta", beta, "--output_dir", out / str(beta)] for beta in BETAS]
        return [[str(word) for word in line] for line in lines]


GRIDS = {
    "1 arm": ("method=dpo", "seed=0"),
    "20 arms": ("method=dpo,orpo", "seed=range(0,10)"),
    "200 arms": ("method=dpo,kto,orpo,simpo", "seed=range(0,10)", "method.learning_rate=1e-5,2e-5,3e-5,4e-5,5e-5"),
}


class Rehearsal(Case):
    """Sweeps of several sizes, checked as a whole."""

    sides = tuple(GRIDS)
    warms_up = False

    def prepare(self, side: str, folder: Path, machine: Machine) -> Turn:
        """Return the command."""
        study = ("after=sft", "dataset=ultrafeedback", "until=check")
        command = [sys.executable, "-m", "rlpipe", "-m", *GRIDS[side], *study]
        return lambda: whole(command, {"RLPIPE_STORE": str(folder / "store")})


def whole(command: Sequence[str], environment: dict[str, str]) -> None:
    """Run a command, and wait for what it has left behind too, so that all its time is counted."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    with suppress(ChildProcessError):
        while True:
            os.wait()


CASES = (
    Commands("one-step", "a whole process of one DPO step", steps=1),
    Commands("fifty-steps", "a whole process of fifty DPO steps", steps=50),
    Commands("sweep", "SFT and eight arms of DPO, of two steps each, against nine command lines", steps=2, arms=8),
    Rehearsal("rehearsal", "composing and checking all arms of a sweep"),
)
