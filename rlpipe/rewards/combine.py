"""All rewards of a run together: proved before use, scored, checked, weighted and summed up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rlpipe.config import plugins
from rlpipe.core.errors import DataError, PluginError, RlpipeError, Stopped, TrainingError, guess
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import Finish, Rollout, Score
from rlpipe.rewards.base import Case, Reward, RewardContext
from rlpipe.rewards.judge.pairwise import Choice, Pair, compare

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig


class Rewards:
    """Rewards by their names, fresh ones that nobody else holds.

    `start` proves them and loads their models; then `score` fills `Rollout.scores` and `Rollout.reward`.
    """

    def __init__(self, rewards: Mapping[str, Reward]):
        self.rewards = dict(rewards)

    def start(self, config: RunConfig, policy: str, device: str, run_dir: Path) -> None:
        """Score every reward's own cases, then let each load what it needs.

        `policy` is the folder of the weights that the policy starts from. Raises PluginError for a
        reward that scores one of its cases wrong, and ModelError for a model that cannot be had.
        """
        for name, reward in self.rewards.items():
            with plugins.blame("reward", reward.config.name):
                prove(name, reward)
                reward.start(RewardContext(config, policy, device, run_dir / "rewards" / name))

    def check_columns(self, prompts: Iterable[Prompt]) -> None:
        """Raise DataError, naming reward and row, where a prompt lacks a column that a reward reads."""
        wanted = {column: name for name, reward in self.rewards.items() for column in reward.columns}
        for prompt in prompts:
            for column, name in wanted.items():
                if column not in prompt.columns:
                    raise DataError(
                        f"dataset, row {prompt.id}",
                        f"lacks the column '{column}' that reward {name} reads",
                        f"choose a reward that fits the dataset; {guess(column, prompt.columns)}",
                    )

    def score(self, rollouts: Sequence[Rollout], found: Mapping[str, Sequence[Score]] | None = None) -> None:
        """Fill in what each rollout earned: `scores` by reward, and `reward` = the sum of weight · value.

        What some rewards give them may be `found` already, by the reward's name. Raises PluginError, naming reward and
        row, for an error, a wrong number of scores, and for anything that is no finite number; then no rollout is
        changed.
        """
        found = {
            name: found[name] if found and name in found else self.scores(name, rollouts)
            for name in self.rewards
            if rollouts
        }
        for number, rollout in enumerate(rollouts):
            self._fill(rollout, {name: scores[number] for name, scores in found.items()})

    def scores(self, name: str, rollouts: Sequence[Rollout]) -> list[Score]:
        """Return what one reward gives each rollout. Raises PluginError as `score` does."""
        reward = self.rewards[name]
        return validated(name, self._given(name, reward, reward.score, rollouts), rollouts)

    def try_score(self, rollouts: Sequence[Rollout]) -> list[bool]:
        """Like `score`, for who can do without some: say of each rollout whether every reward has a score for it.

        A rollout without one is left as it was.
        """
        scored = [True] * len(rollouts)
        found: dict[str, list[Score | None]] = {}
        for name, reward in self.rewards.items():
            given = self._given(name, reward, reward.try_score, rollouts) if rollouts else []
            held = [place for place, one in enumerate(given) if one is not None]
            validated(name, [given[place] for place in held], [rollouts[place] for place in held])
            found[name] = given
            scored = [before and one is not None for before, one in zip(scored, given, strict=True)]
        for number, rollout in enumerate(rollouts):
            if scored[number]:
                self._fill(rollout, {name: cast("Score", scores[number]) for name, scores in found.items()})
        return scored

    def compare(self, rollouts: Sequence[Rollout]) -> None:
        """Fill in which of each two neighbours the only reward prefers, asked in both orders.

        The better one earns 1 and the other 0; where the orders disagree, or an answer is missing, each earns a half.
        Raises PluginError for an error of the reward's.
        """
        [(name, judge)] = self.rewards.items()
        both = list(zip(rollouts[::2], rollouts[1::2], strict=True))
        with plugins.blame("reward", judge.config.name):
            verdicts = compare(judge, [Pair(one.prompt, one.text, other.text) for one, other in both])
        for pair, verdict in zip(both, verdicts, strict=True):
            for rollout, won in zip(pair, (Choice.first, Choice.second), strict=True):
                value = 0.5 if verdict.winner is Choice.tie else float(verdict.winner is won)
                self._fill(rollout, {name: Score(value, parsed=verdict.readable)})

    def _fill(self, rollout: Rollout, scores: dict[str, Score]) -> None:
        rollout.scores = scores
        rollout.reward = math.fsum(self.rewards[name].config.weight * score.value for name, score in scores.items())

    def _given(
        self, name: str, reward: Reward, score: Callable[[Sequence[Rollout]], Any], rollouts: Sequence[Rollout]
    ) -> Any:
        try:
            return score(rollouts)
        except (RlpipeError, Stopped):
            raise
        except Exception as error:
            raise _at_fault(name, reward, rollouts, error) from error


def unscorable(rewards: Iterable[Reward]) -> Callable[[Mapping[str, Any]], str | None]:
    """Return the function that says why some reward can score no completion with these columns."""
    chosen = list(rewards)
    return lambda columns: next((why for one in chosen if (why := one.unscorable(columns)) is not None), None)


def verified_columns(rewards: Iterable[Reward]) -> set[str]:
    """Return the columns by which rewards know right completions."""
    return {column for reward in rewards if reward.verifies for column in reward.columns}


def validated(name: str, scores: Any, rollouts: Sequence[Rollout]) -> list[Score]:
    """Return scores that are one Score for each rollout with finite numbers. Raises PluginError for others."""
    if not isinstance(scores, Sequence) or isinstance(scores, str):
        raise _broken(name, f"gave {type(scores).__name__} where a list of Score is due")
    if len(scores) != len(rollouts):
        raise _broken(name, f"gave {len(scores)} scores for {len(rollouts)} rollouts")
    for score, rollout in zip(scores, rollouts, strict=True):
        where = f"row {rollout.prompt.id}"
        if not isinstance(score, Score):
            raise _broken(name, f"{where}: gave {score!r:.60} where a Score is due")
        for what, value in {"value": score.value, **score.parts}.items():
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise _broken(name, f"{where}: gave {what} = {value!r:.60}, which is no finite number")
    return list(scores)


def _broken(name: str, what: str) -> PluginError:
    return PluginError(f"reward.{name}", f"{what}; nothing was trained on it", "fix the reward, or choose another")


def _at_fault(name: str, reward: Reward, rollouts: Sequence[Rollout], error: Exception) -> PluginError:
    """Find the row that a reward fails on by scoring one by one, and say so."""
    message = f"{type(error).__name__}: {error}"
    for rollout in rollouts:
        try:
            reward.score([rollout])
        except Exception as again:
            return _broken(name, f"row {rollout.prompt.id}: {type(again).__name__}: {again}")
    return _broken(name, f"failed on {len(rollouts)} rollouts together, though on none alone: {message}")


def prove(name: str, reward: Reward) -> None:
    """Score a reward's own cases. Raises PluginError naming the first that gets another score than it must."""
    cases = list(reward.cases())
    if not cases:
        return
    rollouts = [case_rollout(case) for case in cases]
    scores = validated(name, reward.score(rollouts), rollouts)
    for case, score in zip(cases, scores, strict=True):
        if (score.value, score.parsed) != (case.value, case.parsed):
            raise PluginError(
                f"reward.{name}",
                (
                    f"scores its own case wrong: {case.text!r:.120} gets "
                    f"{score.value}{'' if score.parsed else ' (unreadable)'} instead of "
                    f"{case.value}{'' if case.parsed else ' (unreadable)'}"
                ),
                "fix the reward before training on it",
            )


def case_rollout(case: Case) -> Rollout:
    """Return the completion of a case."""
    prompt = Prompt("case", [{"role": "user", "content": ""}], case.columns)
    turns = None if case.turns is None else list(case.turns)
    return Rollout(prompt, [], [], [], [], case.text, Finish.stop, turns=turns)


def summary(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return what scored rollouts earned on average, to log.

    `reward` is the mean of what the objective uses; `reward/<name>` each reward's own mean, unweighted,
    with its parts beneath; `reward/<name>/unparsed` the share of completions without a readable answer.
    """
    if not rollouts:
        raise TrainingError("", "there are no rollouts to sum up", "give at least one")
    numbers = {"reward": _mean([one.reward for one in rollouts])}
    for name in rollouts[0].scores:
        scores = [one.scores[name] for one in rollouts]
        numbers[f"reward/{name}"] = _mean([score.value for score in scores])
        numbers[f"reward/{name}/unparsed"] = _mean([float(not score.parsed) for score in scores])
        for part in dict.fromkeys(part for score in scores for part in score.parts):
            given = [score.parts[part] for score in scores if part in score.parts]
            numbers[f"reward/{name}/{part}"] = _mean(given)
    return numbers


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
