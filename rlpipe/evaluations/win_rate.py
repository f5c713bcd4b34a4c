"""How often a policy's response is better than a reference's.

The reference is a model (by default the one that the run starts from) or the dataset's own answers. Which response
is better, a reward says: the higher score wins; or a judge compares the two in both orders and must name the same one
twice (as in MT-Bench, arXiv:2306.05685). Judges like long answers, so the length-controlled win rate of AlpacaEval 2
stands beside (`length_control`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import EvaluationConfig, Head
from rlpipe.config.resolved import Resolved, resolve
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Example, Prompt, text_of
from rlpipe.engines.rollout import Finish, Rollout
from rlpipe.evaluations.base import Evaluation, EvaluationContext, Row
from rlpipe.evaluations.completions import (
    LikeliestConfig,
    complete,
    completion_row,
    draw_problems,
    drawing,
    settings,
)
from rlpipe.evaluations.references import Reference, References
from rlpipe.evaluations.verdicts import by_comparison, by_score, notes, numbers
from rlpipe.models.base import Loaded
from rlpipe.rewards.base import Reward
from rlpipe.rewards.chosen import described, weights
from rlpipe.rewards.combine import Rewards

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig
    from rlpipe.records.record import When


class Against(Enum):
    """Whose responses the policy's are compared with."""

    model = "model"
    """Those of the model that `stage` or `model` names; of the one that the run starts from where neither is given."""
    dataset = "dataset"
    """The dataset's own: the chosen one of a pair, the reference answer of a prompt."""


@changing(Changes.rows)
@dataclass
class WinRateConfig(EvaluationConfig):
    """Against whom, who judges, and how responses are drawn."""

    against: Against = Against.model
    model: str | None = setting(None, Changes.indirect)
    """The reference model: a folder or a hub id."""
    revision: str | None = setting(None, Changes.indirect)
    """The hub's commit, tag or branch of it."""
    stage: list[str] = setting(list, Changes.indirect)
    """Instead of `model`: the overrides of the run that makes it; model and dataset are inherited unless named."""
    reward: str | None = setting(None, Changes.indirect)
    """Who says what is better: a reward of the run by its name there, or a reward plugin. Null: all rewards of the run,
    weighted and summed up."""
    pairwise: bool | None = setting(None, Changes.indirect)
    """Have the two responses compared, in both orders, rather than each scored alone; null: where the reward is a judge
    that can compare."""
    sampling: LikeliestConfig = setting(LikeliestConfig, Changes.indirect)
    """How responses of both are drawn."""
    seed: int = setting(0, Changes.indirect, at_least=0, below=2**32)
    """Decides what the policy draws, where the temperature is above 0; the reference has the next one."""
    tool: bool = setting(True, Changes.indirect)
    """Offer the run's tools, to both."""


class WinRate(Evaluation):
    """Share of prompts on which the policy's response beats a reference's, ties as half; also at equal lengths."""

    Config = WinRateConfig
    config: WinRateConfig
    takes = (Prompt,)
    takes_reward = True
    takes_tool = True
    draws = True
    model_head = Head.causal_lm
    portion = 32  # responses are long

    def problems(self) -> list[Problem]:
        """Say which settings contradict each other."""
        config, found = self.config, draw_problems(self.config.sampling)
        named = config.model is not None or bool(config.stage)
        if config.against is Against.dataset and named:
            found.append(Problem("against", "a reference model is named too", "drop model and stage, or against=model"))
        if config.model is not None and config.stage:
            found.append(Problem("model", "both a model and the run that makes one are given", "drop one of the two"))
        if config.revision is not None and config.model is None:
            found.append(Problem("revision", "belongs to a model, and none is named", "name the model too, or drop it"))
        return found

    def unfit(self, config: RunConfig, columns: Collection[str] | None) -> Problem | None:
        """Say that nobody judges, or that there is nothing to compare with."""
        settings, run = self.config, resolve(config)
        judges = list(self._judges(run).values())
        names = " and ".join(judge.config.name for judge in judges)
        if not judges:
            return Problem("", "no reward says which response is better", "")
        if reading := [judge.config.name for judge in judges if judge.reads_episode]:
            what = f"reward {reading[0]} reads what an environment gave, and responses are of one turn"
            return Problem("", what, f"name another: evaluation.{settings.name}.reward=…")
        if settings.pairwise and not _can_compare(judges):
            what = f"pairwise=true asks for a judge that compares two responses, and {names} does not"
            return Problem("", what, "")
        if settings.reward is not None and settings.reward not in config.reward and (bad := judges[0].problems()):
            what = f"reward {settings.reward} has no settings in this run: {bad[0].where} {bad[0].what}"
            return Problem("", what, bad[0].fix)
        wanted = [column for judge in judges for column in judge.columns]
        wanted += ["reference"] if settings.against is Against.dataset else []
        lacking = [column for column in wanted if columns is not None and column not in columns]
        if lacking:
            return Problem("", f"prompts of this dataset lack the column '{lacking[0]}'", "")
        if not run.method.takes and settings.against is Against.model and settings.model is None and not settings.stage:
            fix = f"name another: evaluation.{settings.name}.model=… or stage=[…], or against=dataset"
            return Problem("", "nothing is trained, so the model would be compared with itself", fix)
        return None

    def drawn(self, config: RunConfig) -> tuple[int, int]:
        """Return the policy's response, and the reference model's."""
        count = 2 if self.config.against is Against.model else 1
        return count, settings(self.config.sampling, config.method).max_tokens

    def start(self, context: EvaluationContext) -> None:
        """Take the rewards, the tools and the lengths of the run."""
        config, self.context, self.run = self.config, context, context.config
        self.resolved = resolve(self.run)
        # Never started: `finish` has to let go of those that are.
        self.judges = self._judges(self.resolved)
        self.rewards: Rewards | None = None
        self.compares = _can_compare(list(self.judges.values())) if config.pairwise is None else config.pairwise
        self.tools = self.resolved.make_tools() if config.tool else []
        self.sampling = settings(config.sampling, self.run.method)
        named = (config.model, config.revision, config.stage)
        folder = context.run_dir / "evaluations" / f"{context.name}.reference"
        self.references = References(Reference(self.run, *named, self.sampling, self.tools, config.seed + 1), folder)

    def protocol(self, loaded: Loaded) -> dict[str, Any]:
        """Add the reference, who judges and how, sampling and tools."""
        settings, run = self.config, self.run
        found = super().protocol(loaded)
        if settings.against is Against.model:
            found["reference"] = weights(run, settings.model, settings.revision, settings.stage, loaded.path)
        found["judge"] = {name: described(one.config, run, loaded.path) for name, one in self.judges.items()}
        return {**found, "pairwise": self.compares, **drawing(run, self.sampling, self.tools, settings.seed)}

    def rows(self, loaded: Loaded, examples: Sequence[Example]) -> list[Row]:
        """One row a prompt: both responses, `score` 1 for a win, 0.5 for a tie, 0 for a loss, and `verdict` in a word.

        `parts` holds both rewards and both lengths in characters; `orders` what a judge that compares named with the
        policy's response shown first, and with the reference's.
        """
        prompts = [example for example in examples if isinstance(example, Prompt)]
        rewards = self._started(loaded)
        rewards.check_columns(prompts)
        groups = complete(loaded, prompts, self.sampling, self.tools, seed=self.config.seed)
        ours = [rollout for (rollout,) in groups]
        if self.config.against is Against.dataset:
            texts = [str(prompt.columns["reference"]) for prompt in prompts]
        else:
            texts = self.references.responses(loaded, prompts)
        theirs = [_spoken(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        if self.compares:
            judged = by_comparison(next(iter(rewards.rewards.values())), ours, theirs)
        else:
            judged = by_score(rewards, self.config.reward, ours, theirs)
        return [
            {"id": prompt.id, "prompt": text_of(prompt.prompt), **completion_row(mine), **row}
            for prompt, mine, row in zip(prompts, ours, judged, strict=True)
        ]

    def finish(self, rows: Sequence[Row], when: When) -> None:
        """Let go of the reference model, and of models that judge."""
        self.references.release()
        self.rewards = None

    def summary(self, rows: Sequence[Row], start: Sequence[Row] | None) -> dict[str, float]:
        """Sum rows up, as `verdicts.numbers` says."""
        return numbers(rows)

    def notes(self, rows: Sequence[Row]) -> list[str]:
        """Say where the judge goes by the order of the answers, and where lengths differ too much to be controlled."""
        return notes(rows)

    def _judges(self, run: Resolved) -> dict[str, Reward]:
        """Return new rewards: all of the run, or the named one."""
        named = self.config.reward
        return run.make_rewards() if named is None else {named: run.make_reward(named)}

    def _started(self, loaded: Loaded) -> Rewards:
        """Return the rewards, proved by their own cases and with their models loaded."""
        if self.rewards is None:
            self.rewards = Rewards(self._judges(self.resolved))
            self.rewards.start(self.run, loaded.path, loaded.model.device.type, self.context.run_dir)
        return self.rewards


def _can_compare(judges: Sequence[Reward]) -> bool:
    return len(judges) == 1 and judges[0].compares


def _spoken(prompt: Prompt, text: str) -> Rollout:
    """Return a text that stands somewhere as a response to a prompt."""
    return Rollout(prompt, [], ids=[], logps=[], written=[], text=text, finish=Finish.stop)
