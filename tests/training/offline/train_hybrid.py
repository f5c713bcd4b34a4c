"""Train by DPO with a second model on several nodes of several processes, in hybrid shards: MODEL_FOLDER FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.training.offline.train_sharded import keep, train

CASE = "dpo-asked"


def main(folder: str, target: str) -> None:
    from rlpipe.core import distributed
    from rlpipe.models.sharding import part

    distributed.start(on_cpu=True)
    trainer = train(CASE, Path(folder), Path(target), sharding="hybrid")
    held = sum(part(weight).numel() for weight in trainer.model.parameters())
    (Path(target) / f"held.{distributed.rank()}").write_text(str(held))
    keep(trainer, Path(target) / "weights.safetensors")
    distributed.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
