"""What watching a run costs: the same training with and without `watch.every`, in turns, in processor time.

    python benchmarks/watching.py                                SFT and DPO of the toy, 100 steps, every 50
    python benchmarks/watching.py --rounds 3 model=hf model.source=FOLDER dataset.source=FOLDER

What differs is the watching alone: measurements before the first step, every 50 steps and after the last. Its cost goes
with the rows that are watched (`watch.limit`) against those that are trained between two measurements; a forward
pass is about a third of what a trained row costs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from rlpipe.config.compose import compose
from rlpipe.run.run import run

METHODS = {"sft": "smoltalk", "dpo": "ultrafeedback"}
KIND = {"sft": "perplexity", "dpo": "preference"}


def seconds(overrides: list[str]) -> float:
    """Return the processor seconds of a run."""
    with tempfile.TemporaryDirectory() as folder:
        given = [*overrides, f"run_dir='{Path(folder) / 'run'}'"]
        config = compose(*given)
        began = time.process_time()
        run(config, given)
        return time.process_time() - began


def main() -> None:
    """Print a row for each method: seconds without and with watching, and the ratio, medians of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    print("| method | without | watched | watched / without | a measurement, of 50 steps |")
    print("| --- | --- | --- | --- | --- |")
    for method, dataset in METHODS.items():
        chosen = [f"method={method}", f"dataset={dataset}", f"evaluation={KIND[method]}", *arguments.overrides]
        plain = [*chosen, f"method.max_steps={arguments.steps}", "until=train", "log.progress=false"]
        seconds([*chosen, "method.max_steps=1", "until=train"])  # imports, and the toy where it is not there yet
        pairs = [(seconds(plain), seconds([*plain, "watch.every=50"])) for _ in range(arguments.rounds)]
        without, watched = (statistics.median(column) for column in zip(*pairs, strict=True))
        each = (watched - without) / (arguments.steps // 50 + 1) / (without * 50 / arguments.steps)
        print(f"| {method} | {without:.1f} s | {watched:.1f} s | {watched / without:.3f} | {each:.1%} |", flush=True)


if __name__ == "__main__":
    main()
