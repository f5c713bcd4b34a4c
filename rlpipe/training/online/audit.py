"""What on-policy training will really see: a few completions, sampled before any step is made.

Importing this module imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import text_of
from rlpipe.engines.prompts import lay_out
from rlpipe.engines.rollout import Finish, Rollout
from rlpipe.engines.stops import end_tokens
from rlpipe.rewards.base import Reward
from rlpipe.rewards.combine import Rewards
from rlpipe.training.audit import Audit, tokens_shown

if TYPE_CHECKING:
    from rlpipe.methods.online import OnlineMethod
    from rlpipe.models.base import Loaded
    from rlpipe.training.online.trainer import OnlineTrainer

DISTINCT = 3
"""Different completions from which on it tells something that a reward gives all the same."""
PROMPTS, COMPLETIONS = 2, 2
"""How many prompts are sampled from, and how often each."""


@dataclass
class OnlineAudit(Audit):
    """What was found in a few sampled completions."""

    prompts: dict[str, Any]
    """How many prompts there were, how many left no room for a completion, and their lengths."""
    stop_tokens: list[str]
    """The tokens that end a completion."""
    written_share: float
    """Share of the sampled completions' tokens that the model wrote, and that are trained."""
    notes: list[str] = field(default_factory=list)
    """What was decided on the way (how tools are called, whether completions share rows)."""

    def lines(self) -> list[str]:
        """Say the numbers, a line each."""
        counts = self.prompts
        left = counts["left_out"]
        whole = f"{left} prompts of an epoch fill no batch of rollouts and are left out, others each time"
        return [
            f"{counts['kept']} of {counts['seen']} prompts kept ({counts['too_long']} leave no room for a completion), "
            f"up to {counts['tokens']['longest']} tokens; completions end at {' '.join(self.stop_tokens) or '-'}",
            *([whole] if left else []),
            *self.notes,
        ]


def audit(trainer: OnlineTrainer, loaded: Loaded, method: OnlineMethod) -> OnlineAudit:
    """Sample a few completions of the starting model, score them, and say what is wrong. Weights stay as they are.

    Every process samples the same. Raises PluginError where a reward breaks its contract.
    """
    collector = trainer.collector
    sampler = collector.sampler
    groups = sampler.sample(collector.prompts.kept[:PROMPTS], COMPLETIONS, collector.prompts.seed)
    rollouts = [rollout for group in groups for rollout in group]
    collector.drawing.score(rollouts)
    stops = end_tokens(loaded)
    written = [bit for rollout in rollouts for bit in rollout.written]
    found = OnlineAudit(
        prompts=collector.prompts.report(),
        stop_tokens=[str(loaded.tokenizer.convert_ids_to_tokens(stop)) for stop in sorted(stops)],
        written_share=sum(written) / max(1, len(written)),
        shown=[_shown(rollout, loaded.tokenizer, stops) for rollout in rollouts],
        notes=[*sampler.notes, *collector.notes(trainer.model)],
    )
    _judge(found, trainer, rollouts)
    blind = list(_blind(collector.rewards.rewards, rollouts, loaded.tokenizer))
    found.errors += [problem for problem in blind if problem.fatal]
    found.warnings += [problem for problem in blind if not problem.fatal]
    return found


def _blind(rewards: Mapping[str, Reward], rollouts: list[Rollout], tokenizer: Any) -> Iterator[Problem]:
    """Say which rewards give a prompt's completions all the same, whatever is written.

    Each completion, and its first half, is scored as an answer to each prompt. Not asked is what proves by its own
    cases that it tells completions apart, what is paid by the call, and what reads an episode that has been played.
    """
    texts = list({one.text: one for one in (*rollouts, *(_half(rollout, tokenizer) for rollout in rollouts))}.values())
    prompts = list({rollout.prompt.id: rollout for rollout in rollouts}.values())
    weighed = {name: reward for name, reward in rewards.items() if reward.config.weight}
    unproven = {name: reward for name, reward in weighed.items() if not (_proven(reward) or reward.reads_episode)}
    if len(texts) < DISTINCT or not unproven:
        return
    given = [[replace(one, prompt=to.prompt, prompt_ids=to.prompt_ids) for one in texts] for to in prompts]
    Rewards(unproven).score([rollout for answers in given for rollout in answers])
    values = {name: [{one.scores[name].value for one in answers} for answers in given] for name in unproven}
    same = {name: found for name, found in values.items() if all(len(kinds) == 1 for kinds in found)}
    # One value for all may be a reward that is hard to earn; one for each prompt is not.
    nothing = len(same) == len(weighed) and all(len(set.union(*found)) > 1 for found in same.values())
    for name, found in same.items():
        shown = ", ".join(f"{value:.3g}" for value in sorted(set.union(*found))[:3])
        what = f"gives the same to {len(texts)} different completions of a prompt ({shown}), on each of {len(prompts)}"
        fix = "let it read the completion (rollout.text): where all earn the same, nothing can be learnt"
        yield Problem(f"reward.{name}", what, fix, fatal=nothing)


def _proven(reward: Reward) -> bool:
    return len({case.value for case in reward.cases()}) > 1 or type(reward).calls is not Reward.calls


def _half(rollout: Rollout, tokenizer: Any) -> Rollout:
    end = len(rollout.ids) // 2
    ids = rollout.ids[:end]
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    return replace(rollout, ids=ids, logps=rollout.logps[:end], written=rollout.written[:end], text=text, calls=[])


def _shown(rollout: Rollout, tokenizer: Any, stops: set[int] | frozenset[int]) -> dict[str, Any]:
    return {
        "title": f"{rollout.prompt.id}  reward {rollout.reward:.3g}  ended by {rollout.finish.value}",
        "prefix": tokenizer.decode(rollout.prompt_ids),
        "tokens": tokens_shown(rollout.ids, rollout.written, stops, tokenizer),
        "reward": rollout.reward,
        "scores": {name: vars(score) for name, score in rollout.scores.items()},
        "finish": rollout.finish.value,
        "calls": [vars(call) for call in rollout.calls],
    }


def _judge(found: OnlineAudit, trainer: OnlineTrainer, rollouts: list[Rollout]) -> None:
    tokenizer, sampling = trainer.collector.sampler.loaded.tokenizer, trainer.settings.sampling
    for rollout in rollouts:
        last = text_of(rollout.prompt.prompt[-1:]).strip()
        laid_out = lay_out(rollout.prompt, tokenizer, trainer.collector.sampler.protocol)
        if last and last.split()[-1] not in laid_out:
            what = f"the prompt {rollout.prompt.id}, laid out as the model reads it, lacks its last message's end"
            found.errors.append(Problem("audit.prompt", what, "fix the chat template (model.chat_template)"))
        for call in rollout.calls:
            if rollout.written[call.at]:
                what = f"a tool's result in a completion of {rollout.prompt.id} would be trained as the model's own"
                found.errors.append(
                    Problem("audit.mask", what, "report it: the sampler must mark results as not written")
                )
        if any(rollout.written[turn.at] for turn in (rollout.turns or ())[:-1]):
            what = f"what the environment says to {rollout.prompt.id} would be trained as the model's own"
            found.errors.append(Problem("audit.mask", what, "report it: the sampler must mark it as not written"))
    if not found.stop_tokens and not sampling.stop:
        what = "no token ends a completion, so each runs to method.sampling.max_tokens"
        fix = "give the tokenizer an end-of-sequence token, or method.sampling.stop"
        found.errors.append(Problem("audit.stop", what, fix))
    counts = found.prompts
    if counts["too_long"] > counts["seen"] / 10:
        what = f"{counts['too_long']} of {counts['seen']} prompts leave no room for a completion, and are left out"
        found.warnings.append(Problem("audit.prompts", what, "raise method.max_length if the model can", fatal=False))
    if all(rollout.finish is Finish.length for rollout in rollouts):
        what = f"all {len(rollouts)} completions sampled were cut at {sampling.max_tokens} tokens"
        fix = "raise method.sampling.max_tokens, or start from a model that has learnt to stop (after=…)"
        found.warnings.append(Problem("audit.length", what, fix, fatal=False))
