"""A reward from a model behind an endpoint: a chat model with a rubric, or a reward model that answers a number."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from rlpipe.config.kinds import RewardConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem, Stopped, TrainingError
from rlpipe.engines.rollout import Score
from rlpipe.rewards.base import Reward, RewardContext
from rlpipe.rewards.judge.asking import Asking, Body, BudgetSpent, Replies, own_file
from rlpipe.rewards.judge.endpoint import Endpoint, Unanswered
from rlpipe.rewards.judge.pairwise import Choice, Pair
from rlpipe.rewards.judge.questions import (
    COMPARISON,
    RUBRIC,
    VERIFICATION,
    filled,
    named_numbers,
    preference,
    rubric_score,
    shown,
)
from rlpipe.rewards.judge.verification import Opinion, opinion, verify

if TYPE_CHECKING:
    from rlpipe.datasets.forms import Prompt
    from rlpipe.engines.rollout import Rollout

Read = TypeVar("Read")


class JudgeMode(Enum):
    """What the endpoint is."""

    rubric = "rubric"
    """A chat model that is asked for a score by `rubric`."""
    reward = "reward"
    """A reward model: it gets the conversation and replies with `name:number`, as NVIDIA's reward endpoints do."""
    verify = "verify"
    """A chat model that is asked by `verification` whether the completion comes to the answer of the column
    `reference`: 1 for yes, else 0. So it tells right from wrong (`evaluation.accuracy.reward=judge`) where no verifier
    can read the answer."""


class OnFailure(Enum):
    """What happens when there is no usable answer after all retries, or the budget is spent."""

    fail = "fail"
    """The run ends with an error."""
    pause = "pause"
    """The run stops and can go on later with the same command: replies are kept, none is paid for twice."""


@changing(Changes.result)
@dataclass
class JudgeConfig(RewardConfig):
    """Which endpoint is asked, what, and how patiently."""

    url: str | None = None
    """The endpoint's base address, up to `/v1`."""
    model: str | None = setting(None, Changes.indirect)
    """The model's name there."""
    key_env: str | None = setting(None, Changes.nothing)
    """The environment variable that holds the key, for endpoints that want one; the key itself is never recorded."""
    mode: JudgeMode = JudgeMode.rubric
    rubric: str = RUBRIC
    """The question, with places for {prompt}, {completion}, {reference}, {low} and {high}; the reply is to say
    `Score: n`."""
    comparison: str = COMPARISON
    """The question where two answers are compared (AI feedback, win rates), with places for {prompt}, {first}, {second}
    and {reference}; the reply is to say `Better: A`, `Better: B` or `Better: tie`."""
    verification: str = VERIFICATION
    """The question of `mode=verify`, with places for {prompt}, {first} and {second}, one of which is the completion and
    the other the reference; the reply is to say `Same: yes`, `Same: no` or `Same: unsure`. Where it is unsure, it is
    asked once more, with both in each other's place."""
    low: float = setting(0.0, finite=True)
    """The worst score of the rubric; the reward is scaled so that it is 0."""
    high: float = setting(10.0, finite=True)
    """The best score of the rubric; the reward is scaled so that it is 1."""
    attribute: str = "reward"
    """Which of a reward endpoint's numbers counts; the others are logged."""
    max_tokens: int = setting(512, at_least=1, at_most=10**6, usual=(16, 32768))
    """Longest reply to a rubric, a comparison or a verification."""
    concurrency: int = setting(8, Changes.nothing, at_least=1, at_most=10**4, usual=(None, 256))
    """Questions under way at once."""
    timeout: float = setting(60.0, Changes.nothing, above=0, at_most=86400, usual=(1, 3600))
    """Seconds for one reply."""
    retries: int = setting(5, Changes.nothing, at_least=0, at_most=1000, usual=(None, 50))
    """How often a question is asked again after a time-out, a 429, a 5xx or a reply without a score."""
    budget: int | None = setting(None, Changes.nothing, at_least=1, at_most=10**9)
    """Calls that the run may make, retries included."""
    cache: str | None = setting(None, Changes.nothing)
    """The file that keeps replies by content, to share between runs (null: one in the run's folder)."""
    on_failure: OnFailure = setting(OnFailure.fail, Changes.nothing)


class Judge(Reward):
    """The score that a model behind an OpenAI-compatible chat endpoint gives.

    With a rubric the reply's last `Score: n` counts, scaled to 0 … 1 between `low` and `high`. A reply
    without a score is asked for again; nothing is ever made up in its place: after all retries the run
    fails or pauses (`on_failure`). Equal questions are asked once. With `mode=verify` the score is 1 where
    the completion comes to the reference's answer, else 0; a doubt that stays is counted as unparsed.
    """

    Config = JudgeConfig
    config: JudgeConfig
    scores_beside = True
    instead = {  # noqa: RUF012
        "stage": "an endpoint's model cannot be made by a run on the way: serve the model/ folder of a finished run "
        "(transformers serve), and give url and model"
    }
    verifies_if = "mode=verify"
    fallible = True
    replies: Replies
    endpoint: Endpoint
    asking: Asking

    def __init__(self, config: RewardConfig):
        super().__init__(config)
        questions = self.config.rubric + self.config.comparison
        self.verifies = self.config.mode is JudgeMode.verify
        self.columns = ("reference",) if self.verifies or (self.compares and "{reference}" in questions) else ()

    @property
    def compares(self) -> bool:
        """Whether the endpoint can be asked which of two answers is better."""
        return self.config.mode is JudgeMode.rubric

    def problems(self) -> list[Problem]:
        """Say what is missing or makes no sense; a key that is not in the environment is found here."""
        config = self.config
        found = []
        if not (config.url or "").startswith(("http://", "https://")):
            found.append(Problem("url", f"{config.url} is no address", "give one, such as http://localhost:8000/v1"))
        if not config.model:
            found.append(Problem("model", "is not given", "give the model's name at the endpoint"))
        if config.key_env is not None and not os.environ.get(config.key_env):
            fix = f"export {config.key_env}=…, or key_env=null for an endpoint that wants no key"
            found.append(Problem("key_env", f"the environment has no {config.key_env}", fix))
        if config.mode is JudgeMode.rubric:
            if "{completion}" not in config.rubric:
                found.append(Problem("rubric", "does not show the completion", "write {completion} where it belongs"))
            if not ("{first}" in config.comparison and "{second}" in config.comparison):
                fix = "write {first} and {second} where they belong"
                found.append(Problem("comparison", "does not show both completions", fix))
            if not config.low < config.high:
                found.append(Problem("high", f"{config.high} is not above low={config.low}", "give a range, low first"))
        shows_both = "{first}" in config.verification and "{second}" in config.verification
        if config.mode is JudgeMode.verify and not shows_both:
            fix = "write {first} and {second} where they belong"
            found.append(Problem("verification", "does not show both answers", fix))
        return found

    def start(self, context: RewardContext) -> None:
        """Open the file of replies; nothing is sent yet. Raises RecordError."""
        config = self.config
        file = Path(config.cache).expanduser() if config.cache else own_file(context.folder)
        self.replies = Replies(file, str(context.folder.absolute()), config.budget)
        self.endpoint = Endpoint(str(config.url), config.key_env, config.timeout, config.retries)
        self.asking = Asking(self.endpoint, self.replies, config.concurrency)

    @property
    def calls(self) -> int:
        """Calls to the endpoint that the run has made, over all its attempts."""
        return self.replies.calls

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        """Ask for every rollout's score, several at a time.

        Raises TrainingError (or Stopped, by `on_failure`) where the endpoint gives none in the end.
        """
        if self.verifies:
            return verify(self._opinions, [_with_reference(one) for one in rollouts])
        try:
            return self.asking.answers([self._scoring(one) for one in rollouts], self._read)
        except (Unanswered, BudgetSpent) as error:
            self._give_up(error)

    def try_score(self, rollouts: Sequence[Rollout]) -> list[Score | None]:
        """Like `score`, with None where all replies are such that no score can be read from them."""
        if self.verifies:
            return list(self.score(rollouts))
        try:
            return self.asking.usable_answers([self._scoring(one) for one in rollouts], self._read)
        except (Unanswered, BudgetSpent) as error:
            self._give_up(error)

    def prefer(self, pairs: Sequence[Pair]) -> list[Choice | None]:
        """Ask which of each pair is better, several at a time; None where no reply says so in a way that can be read.

        Raises TrainingError (or Stopped, by `on_failure`) where the endpoint gives no reply in the end.
        """
        return self._about(pairs, self.config.comparison, preference)

    def _opinions(self, pairs: Sequence[Pair]) -> list[Opinion | None]:
        """Ask whether the answers of each pair come to the same."""
        return self._about(pairs, self.config.verification, opinion)

    def _about(self, pairs: Sequence[Pair], question: str, read: Callable[[str], Read]) -> list[Read | None]:
        bodies = [self._request(question, pair.prompt, {"first": pair.first, "second": pair.second}) for pair in pairs]
        try:
            return self.asking.usable_answers(bodies, read)
        except (Unanswered, BudgetSpent) as error:
            self._give_up(error)

    def _give_up(self, error: Unanswered | BudgetSpent) -> NoReturn:
        if isinstance(error, BudgetSpent):
            fix = f"raise reward.{self.config.name}.budget, or choose a cheaper reward"
        else:
            fix = "see that the endpoint answers, then give the same command again with the same run_dir"
        where, what = f"reward.{self.config.name}", f"{self.endpoint.url}: {error}"
        if self.config.on_failure is OnFailure.pause:
            raise Stopped(where, f"{what}; the run pauses, with all replies so far kept", fix) from error
        raise TrainingError(where, f"{what}; no score was made up", fix) from error

    def _scoring(self, rollout: Rollout) -> Body:
        """Return what is sent to have one rollout scored."""
        config, prompt = self.config, rollout.prompt
        if config.mode is JudgeMode.reward:
            answer = {"role": "assistant", "content": rollout.text}
            return {"model": config.model, "messages": [*prompt.prompt, answer]}
        bounds = {"low": f"{config.low:g}", "high": f"{config.high:g}"}
        return self._request(config.rubric, prompt, {"completion": rollout.text, **bounds})

    def _request(self, template: str, prompt: Prompt, places: dict[str, str]) -> Body:
        about = {"prompt": shown(prompt.prompt), "reference": str(prompt.columns.get("reference", ""))}
        messages = [{"role": "user", "content": filled(template, about | places)}]
        return {
            "model": self.config.model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": self.config.max_tokens,
        }

    def _read(self, reply: str) -> Score:
        """Read the score in a reply. Raises ValueError where there is none."""
        config = self.config
        if config.mode is JudgeMode.reward:
            numbers = named_numbers(reply)
            if config.attribute not in numbers:
                there = f", only {', '.join(numbers)} (set `attribute` to one of them)" if numbers else ""
                raise ValueError(f"the reply has no number '{config.attribute}'{there}")
            return Score(numbers[config.attribute], numbers)
        number = rubric_score(reply)
        if not config.low <= number <= config.high:
            raise ValueError(f"the score {number:g} lies outside {config.low:g} … {config.high:g}")
        return Score((number - config.low) / (config.high - config.low), {"score": number})


def _with_reference(rollout: Rollout) -> Pair:
    return Pair(rollout.prompt, rollout.text, str(rollout.prompt.columns["reference"]))
