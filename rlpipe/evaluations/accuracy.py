"""Does the model solve held-out tasks? Completions are drawn and verified as in training.

The likeliest completion of each prompt (greedy) says what a user would get; `samples` drawn ones say what
training can still bring out: pass@k by the unbiased estimator of arXiv:2107.03374. With tools, the greedy
score without them stands beside. Where a model judges, an exact verifier is counted beside it, if there is one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from rlpipe.config.kinds import EvaluationConfig
from rlpipe.config.resolved import Resolved, default, resolve
from rlpipe.config.schema import RunConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import PluginError, Problem
from rlpipe.datasets.forms import Example, Prompt, text_of
from rlpipe.engines.rollout import Rollout, SamplingConfig
from rlpipe.environments.episode import opened
from rlpipe.evaluations.base import Evaluation, EvaluationContext, Row
from rlpipe.evaluations.completions import DrawConfig, complete, completion_row, draw_problems, drawing, settings
from rlpipe.models.base import Loaded
from rlpipe.rewards.base import Reward
from rlpipe.rewards.chosen import described
from rlpipe.rewards.combine import Rewards, validated

if TYPE_CHECKING:
    from rlpipe.records.record import When


@changing(Changes.rows)
@dataclass
class AccuracyConfig(EvaluationConfig):
    """Which completions are drawn, and who says what is right."""

    reward: str | None = setting(None, Changes.indirect)
    """The verifier: a reward of the run by its name there, or a reward plugin. Null: the run's own verifier, else the
    dataset's natural one."""
    greedy: bool = True
    """Measure the likeliest completion of each prompt."""
    samples: int = setting(0, at_least=0, at_most=10**5, usual=(None, 1024), zero="none")
    """Completions drawn of each prompt beside, for pass@k; 0 for none."""
    k: list[int] = setting(list, at_least=1)
    """The k of pass@k, none above `samples`; empty for 1 and `samples`."""
    sampling: DrawConfig = setting(DrawConfig, Changes.indirect)
    """How the `samples` are drawn. The greedy completion has the same `max_tokens` and `stop`."""
    seed: int = setting(0, Changes.indirect, at_least=0, below=2**32)
    """Decides what is drawn: the same before and after training, and in every run."""
    tool: bool = setting(True, Changes.indirect)
    """Offer the run's tools, and measure the greedy completion without them as well; false offers none."""


class Accuracy(Evaluation):
    """Share of held-out tasks solved: greedy, pass@k, and without tools."""

    Config = AccuracyConfig
    config: AccuracyConfig
    takes = (Prompt,)
    verifies = True
    takes_reward = True
    takes_tool = True
    takes_environment = True
    draws = True

    def problems(self) -> list[Problem]:
        """Say where nothing is drawn, and which k needs more samples."""
        config, found = self.config, draw_problems(self.config.sampling)
        if not config.greedy and config.samples < 1:
            found.append(Problem("samples", "nothing is drawn", "set samples to 1 or more, or greedy=true"))
        for k in config.k:
            if not 1 <= k <= config.samples:
                what = f"pass@{k} cannot be estimated from {config.samples} completions"
                found.append(Problem("k", what, f"set samples to {max(k, 1)} or more, or drop {k}"))
        return found

    def unfit(self, config: RunConfig, columns: Collection[str] | None) -> Problem | None:
        """Say that no verifier is known, or that prompts lack a column that it reads."""
        reward = verifier(self.config.reward, resolve(config))
        if reward is None:
            return Problem("", _no_verifier(config), "")
        lacking = [] if columns is None else [column for column in reward.columns if column not in columns]
        name = reward.config.name
        if reward.reads_episode and config.environment is None:
            return Problem("", f"verifier {name} reads what an environment gave, and there is none", "")
        if lacking:
            what = f"verifier {name} reads the column '{lacking[0]}', which prompts of this dataset lack"
            return Problem("", what, "")
        if not reward.verifies:
            fix = f"set reward.{name}.{reward.verifies_if}" if reward.verifies_if else ""
            return Problem("", f"reward {name} does not say what is right", fix)
        if name not in config.reward and (bad := reward.problems()):
            return Problem("", f"verifier {name}: {bad[0].where} {bad[0].what}", bad[0].fix)
        return None

    def numbers(self, config: RunConfig) -> Collection[str] | None:
        """Return accuracy and what goes with it; the verifier's own parts are known where it names them."""
        chosen = verifier(self.config.reward, resolve(config))
        if chosen is None or chosen.parts is None:
            return None
        always = ("accuracy", "accuracy_low", "accuracy_high", "value", "unparsed", "length", "ended_by_length")
        drawn = [f"pass@{k}" for k in self._ks()] if self.config.samples else []
        with_tools = ("accuracy_without_tool", "tool_calls", "tool_errors") if config.tool and self.config.tool else ()
        return (*always, *chosen.parts, *drawn, *with_tools)

    def drawn(self, config: RunConfig) -> tuple[int, int]:
        """Return the greedy completion, without tools as well where there are some, and the drawn ones."""
        greedy = self.config.greedy * (2 if config.tool and self.config.tool else 1)
        return greedy + self.config.samples, settings(self.config.sampling, config.method).max_tokens

    def start(self, context: EvaluationContext) -> None:
        """Take the verifier, the tools and the lengths of the run."""
        self.context, self.resolved = context, resolve(context.config)
        self.verifier: tuple[str, Rewards] | None = None
        self.exact: Reward | None = None
        self.tools = self.resolved.make_tools() if self.config.tool else []
        self.environments = self.resolved.environments

    def protocol(self, loaded: Loaded) -> dict[str, Any]:
        """Add the verifier, sampling and tools."""
        run = self.context.config
        drawn = settings(self.config.sampling, run.method)
        if not self.config.samples:
            drawn = replace(drawn, temperature=0.0)
        chosen = verifier(self.config.reward, self.resolved)
        drawn_by = drawing(run, drawn, self.tools, self.config.seed, played=True)
        judge = {"verifier": None if chosen is None else described(chosen.config, run, loaded.path)}
        if (exact := exact_beside(chosen, self.resolved)) is not None:
            judge["exact"] = described(exact.config, run, loaded.path)
        return {**super().protocol(loaded), **judge, **drawn_by}

    def rows(self, loaded: Loaded, examples: Sequence[Example]) -> list[Row]:
        """One row a task.

        `score` is 1 where the greedy completion is right, else 0; without greedy, the share of right samples.
        The greedy completion, its value, parts, finish, tool calls and turns stand in the row itself, drawn ones in
        `samples` and their estimates in `pass`, the score without tools in `score_without_tool`. Where a model judges,
        `reason` is what it said, and `exact` whether the exact verifier finds the completion right.
        """
        from rlpipe.statistics.intervals import pass_at_k  # numpy: not for composing

        prompts = [example for example in examples if isinstance(example, Prompt)]
        drawn = settings(self.config.sampling, self.context.config.method)
        greedy = replace(drawn, temperature=0.0)
        read = opened(self.environments, prompts)
        rows: list[Row] = [{"id": prompt.id, "prompt": text_of(prompt.prompt)} for prompt in read]
        if self.config.samples:
            for row, group in zip(rows, self._verified(loaded, prompts, drawn, self.config.samples), strict=True):
                row["samples"] = group
                right = sum(one["right"] for one in group)
                row["score"] = right / len(group)
                row["pass"] = {str(k): pass_at_k(len(group), right, k) for k in self._ks()}
        if self.config.greedy:
            for row, (one,) in zip(rows, self._verified(loaded, prompts, greedy), strict=True):
                row |= one
                row["score"] = float(one["right"])
            if self.tools:
                for row, (one,) in zip(rows, self._verified(loaded, prompts, greedy, tools=False), strict=True):
                    row["score_without_tool"] = float(one["right"])
                    row["without_tool"] = one["completion"]
        return rows

    def _ks(self) -> list[int]:
        return self.config.k or sorted({1, self.config.samples})

    def _verified(
        self, loaded: Loaded, prompts: Sequence[Prompt], sampling: SamplingConfig, count: int = 1, tools: bool = True
    ) -> list[list[Row]]:
        """Draw completions and verify them; returns what there is to say of each, by prompt."""
        name, rewards = self._rewards(loaded)
        rewards.check_columns(prompts)
        offered = self.tools if tools else []
        groups = complete(loaded, prompts, sampling, offered, count, self.config.seed, self.environments)
        drawn = [rollout for group in groups for rollout in group]
        rewards.score(drawn)
        rows = iter([_row(rollout, name, exact) for rollout, exact in zip(drawn, self._exactly(drawn), strict=True)])
        return [[next(rows) for _ in group] for group in groups]

    def _exactly(self, rollouts: Sequence[Rollout]) -> list[bool | None]:
        """Return whether the exact verifier finds each completion right; None for what it cannot read the answer of."""
        exact = self.exact
        if exact is None:
            return [None] * len(rollouts)
        given = [rollout.prompt.columns for rollout in rollouts]
        readable = [exact.unscorable(row) is None and row.keys() >= set(exact.columns) for row in given]
        held = [rollout for rollout, can in zip(rollouts, readable, strict=True) if can]
        scores = iter(validated(exact.config.name, exact.score(held), held) if held else ())
        return [next(scores).value >= 1 if can else None for can in readable]

    def finish(self, rows: Sequence[Row], when: When) -> None:
        """Let go of what the verifier holds: a model, a file of replies."""
        self.verifier = self.exact = None

    def _rewards(self, loaded: Loaded) -> tuple[str, Rewards]:
        """Return the verifier, proved by its own cases before the first use."""
        if self.verifier is None:
            around = self.context
            chosen = verifier(self.config.reward, self.resolved)
            if chosen is None:
                raise PluginError("evaluation", _no_verifier(around.config), "name one: evaluation.NAME.reward=…")
            rewards = Rewards({chosen.config.name: chosen})
            self.exact = exact_beside(chosen, self.resolved)
            for one in (rewards, Rewards({} if self.exact is None else {self.exact.config.name: self.exact})):
                one.start(around.config, loaded.path, loaded.model.device.type, around.run_dir)
            self.verifier = (chosen.config.name, rewards)
        return self.verifier

    def summary(self, rows: Sequence[Row], start: Sequence[Row] | None) -> dict[str, float]:
        """Sum rows up: `accuracy` with its 95 % interval, and what else was measured.

        Greedy: the verifier's mean `value`, its parts by name, `unparsed`, `length` in tokens, `ended_by_length`,
        and with tools `tool_calls` a completion, `tool_errors` a call, `accuracy_without_tool`. Drawn: `pass@k`.
        Without greedy the former are those of the drawn completions. Where a model judges and an exact verifier is at
        hand: its `exact_accuracy`, and their `agreement`, over the completions whose answer it can read.
        """
        from rlpipe.statistics import intervals

        found = intervals.mean([row["score"] for row in rows])
        numbers = {"accuracy": found.estimate, **found.ends("accuracy_")}
        for k in rows[0].get("pass", {}):
            numbers[f"pass@{k}"] = _mean([row["pass"][k] for row in rows])
        if "score_without_tool" in rows[0]:
            numbers["accuracy_without_tool"] = _mean([row["score_without_tool"] for row in rows])
        completions = rows if "value" in rows[0] else [one for row in rows for one in row["samples"]]
        return numbers | dict(_completions(completions))


def verifier(named: str | None, run: Resolved) -> Reward | None:
    """Return a new reward, the one that says what is right in a run, None where none does. Raises PluginError.

    That is the one that is `named`, in the run or among the plugins; else the run's own verifier; else the
    dataset's natural one.
    """
    verifiers = (name for name in run.config.reward if run.reward(name).verifies)
    chosen = next(verifiers, None) if named is None else named
    found: Reward | None = None
    if chosen is not None:
        found = run.make_reward(chosen)
    elif run.dataset.verifier is not None:
        found = default("reward", run.dataset.verifier)
    return found


def exact_beside(chosen: Reward | None, run: Resolved) -> Reward | None:
    """Return a new exact verifier to count beside one that may err: the run's own, else the dataset's natural one."""
    if chosen is None or not chosen.fallible:
        return None
    own = (name for name in run.config.reward if run.reward(name).verifies and not run.reward(name).fallible)
    name = next(own, run.dataset.verifier)
    return None if name is None else cast("Reward", run.make_reward(name))


def _row(rollout: Rollout, name: str, exact: bool | None) -> Row:
    score = rollout.scores[name]
    right = score.value >= 1
    beside = ({"reason": score.reason} if score.reason else {}) | ({} if exact is None else {"exact": exact})
    return {
        **completion_row(rollout),
        "value": score.value,
        "right": right,
        "parts": score.parts,
        "parsed": score.parsed,
        **beside,
    }


def _completions(rows: Sequence[Row]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of completions, given as rows of `_row`."""
    yield "value", _mean([row["value"] for row in rows])
    for part in dict.fromkeys(part for row in rows for part in row["parts"]):
        yield part, _mean([row["parts"][part] for row in rows if part in row["parts"]])
    yield "unparsed", _mean([not row["parsed"] for row in rows])
    yield "length", _mean([row["tokens"] for row in rows])
    yield "ended_by_length", _mean([row["finish"] == "length" for row in rows])
    known = [row for row in rows if "exact" in row]
    if known:
        yield "exact_accuracy", _mean([row["exact"] for row in known])
        yield "agreement", _mean([row["exact"] == row["right"] for row in known])
    calls = [call for row in rows for call in row["calls"]]
    if calls:
        yield "tool_calls", len(calls) / len(rows)
        yield "tool_errors", _mean([call["failed"] for call in calls])


def _mean(values: Sequence[Any]) -> float:
    return sum(values) / len(values)


def _no_verifier(config: RunConfig) -> str:
    return f"no reward tells right answers of dataset {config.dataset.name} from wrong ones"
