"""AI feedback: pairs that a run has made of a model's responses and a judge's verdicts (`method=ai_feedback`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlpipe.config.kinds import DatasetConfig
from rlpipe.datasets.base import Dataset, Row
from rlpipe.datasets.calls import as_tools
from rlpipe.datasets.forms import Preference
from rlpipe.datasets.messages import as_pair

STAGE = (
    "method=ai_feedback",
    "dataset=ultrafeedback",
    "reward=reward_model",
    "reward.reward_model.stage=['method=reward_model']",
    "evaluation=none",
)


@dataclass
class AIFeedbackConfig(DatasetConfig):
    """Settings of AI feedback."""

    stage: list[str] = field(default_factory=lambda: list(STAGE))
    """The overrides of the run that makes the pairs; model and `after` are inherited unless it names its own, so that
    the responses are those of the model that this run starts from. The default scores them by a reward model that is
    trained on the same dataset. Unused where `source` is the folder of a run that has made pairs."""


class AIFeedback(Dataset):
    """Pairs of a model's own responses in UltraFeedback's columns, with columns that say where they come from."""

    Config = AIFeedbackConfig
    config: AIFeedbackConfig
    form = Preference
    columns = ("chosen", "rejected")

    def example(self, row: Row, id: str) -> Preference:
        """Split the pair into its common prompt and two responses."""
        pair = as_pair(row.get("prompt"), row["chosen"], row["rejected"])
        return Preference(id, *pair, tools=as_tools(row.get("tools")))
