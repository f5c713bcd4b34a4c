"""TRL's RLOOTrainer: leave-one-out with TRL's own sampling and training passes."""

from __future__ import annotations

from rlpipe.methods.trl import TrlConfig, TrlMethod


class TrlRLOO(TrlMethod):
    """RLOO as TRL trains it: the yardstick for `rloo`, and the way to vLLM (`extra.use_vllm`)."""

    Config = TrlConfig
    library = ("trl", "RLOOConfig", "RLOOTrainer")
