"""What many rows cost before the first step: `python benchmarks/rows.py [--rows 300000] [--method sft]`.

A run of one step on a made-up file of JSON lines, as a user starts it, first with an empty store and then again:
seconds of the whole command on the clock and on the processor, and its peak memory above that of the same run on 100
rows, which is the model's, torch's and the libraries'.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FEW = 100
WORDS = 5_000
"""Different words that texts are drawn from."""


def write(path: Path, count: int) -> None:
    """Write prompts with completions of 5 to 40 words, rows that differ."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnoprstuvwy", k=rng.randint(2, 9))) for _ in range(WORDS)]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            prompt, completion = (" ".join(rng.choices(words, k=rng.randint(5, 40))) for _ in range(2))
            file.write(json.dumps({"prompt": f"{number}: {prompt}", "completion": completion}) + "\n")


def pairs(source: Path, target: Path) -> None:
    """Write the rows of a file as pairs."""
    with source.open(encoding="utf-8") as rows, target.open("w", encoding="utf-8") as file:
        for line in rows:
            row = json.loads(line)
            file.write(json.dumps({"prompt": row["prompt"], "chosen": row["completion"], "rejected": "no"}) + "\n")


def measure(source: Path, folder: Path, name: str, method: str) -> tuple[float, float, float]:
    """Return seconds on the clock and on the processor, and the peak in MiB, of a run of one step."""
    settings = ("model=blank", "dataset=files", "evaluation=none", "method.max_steps=1", "method.max_length=512")
    command = [sys.executable, "-m", "rlpipe", f"method={method}", *settings, f"dataset.source={source}"]
    began = time.monotonic()
    with (folder / f"{name}.txt").open("wb") as log:
        started = subprocess.Popen(
            [*command, f"run_dir={folder / name}", f"store={folder / 'store'}"], stdout=log, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(started.pid, 0)
    if status:
        sys.exit((folder / f"{name}.txt").read_text())
    return time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[300_000, 1_000_000])
    parser.add_argument("--method", choices=("sft", "dpo"), default="sft")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        print(f"{'rows':>9} {'run':>5} {'seconds':>8} {'processor':>9} {'MiB above':>9}", flush=True)
        base = 0.0
        for count in (FEW, *arguments.rows):
            source = folder / f"{count}.jsonl"
            write(source, count)
            if arguments.method == "dpo":
                pairs(source, paired := folder / f"{count}.pairs.jsonl")
                source = paired
            for run in ("cold", "warm"):
                seconds, busy, peak = measure(source, folder, f"{count}-{run}", arguments.method)
                base = peak if count == FEW else base
                print(f"{count:>9} {run:>5} {seconds:>8.1f} {busy:>9.1f} {peak - base:>9.0f}", flush=True)


if __name__ == "__main__":
    main()
