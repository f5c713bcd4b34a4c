"""AI feedback: pairs made by a model's own responses and a judge, to train on as on people's (arXiv:2309.00267)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Prompt
from rlpipe.feedback import settings
from rlpipe.methods.base import Maker, Method, Parts

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig


class AIFeedback(Method):
    """Draws responses of the model to the dataset's prompts, has them judged by `reward=…`, and keeps pairs.

    Nothing is trained: the run leaves `data/train.jsonl` and `data/test.jsonl` in UltraFeedback's columns, which
    `dataset=ai_feedback` reads.
    """

    Config = settings.AIFeedbackConfig
    config: settings.AIFeedbackConfig
    takes = (Prompt,)
    makes = "data"
    takes_reward = True
    irrelevant = ("learning_rate", "chunk", *settings.INERT)

    def problems(self, config: RunConfig) -> list[Problem]:
        """List what is wrong with the settings taken together."""
        return list(settings.problems(self.config, config))

    def trainer(self, parts: Parts) -> None:
        """Return None: there is nothing to train."""

    def maker(self, parts: Parts) -> Maker:
        """Prepare to sample and judge. Raises DataError and ModelError."""
        from rlpipe.training.feedback.maker import FeedbackMaker

        return FeedbackMaker(self.config, parts)
