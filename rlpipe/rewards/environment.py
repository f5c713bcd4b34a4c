"""`environment`: what the environment gave in the turns of an episode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlpipe.config.kinds import RewardConfig
from rlpipe.engines.rollout import Score
from rlpipe.environments.episode import Turn
from rlpipe.rewards.base import Case, Reward

if TYPE_CHECKING:
    from rlpipe.engines.rollout import Rollout


class EnvironmentReward(Reward):
    """The sum of what an episode's turns earned. Its parts are the environment's numbers, `turns` and `finished`.

    An episode of 1 or more counts as solved. One that was cut by length keeps what its turns earned until then; one
    in which no turn was completed is unparsed.
    """

    Config = RewardConfig
    verifies = True
    reads_episode = True

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Add up each episode. Raises ValueError for a completion that is none."""
        return [self._score(one) for one in rollouts]

    def cases(self) -> Sequence[Case]:
        """Return episodes that were won, lost, and cut off."""

        def turn(reward: float, done: bool) -> Turn:
            return Turn([], reward, done, {}, 0)

        return [
            Case("6 4 5", {}, 1.0, turns=[turn(0.0, False), turn(0.0, False), turn(1.0, True)]),
            Case("6 4 3", {}, 0.25, turns=[turn(0.5, False), turn(-0.25, False), turn(0.0, True)]),
            Case("6 4", {}, 0.5, turns=[turn(0.5, False)]),
            Case("6", {}, 0.0, parsed=False, turns=[]),
        ]

    def _score(self, rollout: Rollout) -> Score:
        turns = rollout.turns
        if turns is None:
            raise ValueError("the completion is no episode of an environment: it was drawn without one")
        parts: dict[str, float] = {}
        for turn in turns:
            parts |= turn.numbers
        parts |= {"turns": float(len(turns)), "finished": float(bool(turns) and turns[-1].done)}
        return Score(math.fsum(turn.reward for turn in turns), parts, parsed=bool(turns))
