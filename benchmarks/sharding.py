"""How much memory each process takes at most where several share a model, beside what it takes before the run.

    python benchmarks/sharding.py                     one process, two and four
    python benchmarks/sharding.py --processes 1,8 model.hidden_size=1024

The whole run counts: loading, two steps of SFT, a checkpoint, saving the model. Rows are short and activations are
recomputed, so that weights dominate; a file of the saved model is a small part of it, as 2 GB are of 28. glibc is told
to give memory back (`MALLOC_MMAP_THRESHOLD_`): its slack is not the run's. Processes run on the CPU, so that the main
one's memory has the whole model too while it hands out the parts.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

SIZE = ("model=blank", "model.hidden_size=384", "model.layers=16", "model.intermediate_size=1024")
RUN = (
    *SIZE,
    *("method=sft", "dataset=smoltalk", "dataset.sample_size=32", "dataset.test_limit=2", "method.max_steps=2"),
    *("method.batch_size=4", "method.micro_batch_size=1", "method.max_length=64", "method.overlong=truncate"),
    *("model.gradient_checkpointing=true", "evaluation=perplexity", "until=train", "log.progress=false"),
    *("hardware.device=cpu", "hardware.sharding=fsdp2"),
)


def resident(name: str) -> int:
    """Return a number of this process's memory in bytes: `VmRSS` is of now, `VmHWM` the most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def one(folder: str, *overrides: str) -> None:
    """Be one of the processes, and write what the run took."""
    import torch.distributed.checkpoint  # noqa: F401
    import trl.trainer.sft_trainer  # noqa: F401
    from transformers.models.llama import modeling_llama  # noqa: F401

    from rlpipe.config.compose import compose
    from rlpipe.core import distributed
    from rlpipe.models import export
    from rlpipe.run.run import run

    export.FILE_SIZE = "8MB"
    given = [*overrides, f"run_dir='{Path(folder) / 'run'}'"]
    config = compose(*given)
    distributed.start(on_cpu=True)
    Path("/proc/self/clear_refs").write_text("5")  # the most so far is what there is now
    before = resident("VmRSS")
    run(config, given)
    Path(folder, f"{distributed.rank()}.json").write_text(json.dumps(resident("VmHWM") - before))
    distributed.finish()


def most(processes: int, overrides: list[str]) -> float:
    """Return the memory of the process that took most, in bytes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes)}
    shared |= {"LOCAL_WORLD_SIZE": str(processes), "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--one", folder, *overrides]
        each = [{**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
        started = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for environment in each]
        codes = [process.wait() for process in started]
        if any(codes):
            raise SystemExit("a process failed")
        return max(json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(processes))


def main() -> None:
    """Print a row for each number of processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", default="1,2,4")
    parser.add_argument("--one", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    if arguments.one is not None:
        one(arguments.one, *arguments.overrides)
        return
    print("| processes | most memory of one | of one process's |")
    print("| --- | --- | --- |")
    alone = None
    for count in map(int, arguments.processes.split(",")):
        found = most(count, [*RUN, *arguments.overrides])
        alone = alone or found
        print(f"| {count} | {found / 1e6:.0f} MB | {found / alone:.2f} |", flush=True)


if __name__ == "__main__":
    main()
