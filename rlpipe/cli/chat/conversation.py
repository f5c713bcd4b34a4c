"""A conversation with a model: what was said so far, and the next answer, drawn as in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rlpipe.cli.chat.streaming import Stream
from rlpipe.core.errors import DataError
from rlpipe.datasets.forms import Message, Prompt
from rlpipe.engines.prompts import prompt_ids
from rlpipe.engines.rollout import Finish, Rollout, SamplingConfig, ToolCall
from rlpipe.engines.sampler import Sampler
from rlpipe.engines.stops import end_tokens

if TYPE_CHECKING:
    from rlpipe.models.base import Loaded
    from rlpipe.tools.base import Tool


class Conversation:
    """Messages so far, and the sampler that answers them. A failed or interrupted answer leaves them as they were."""

    def __init__(
        self,
        loaded: Loaded,
        sampling: SamplingConfig,
        tools: Sequence[Tool] = (),
        system: str | None = None,
        seed: int = 0,
    ):
        self.loaded, self.sampling, self.tools, self.system, self.seed = loaded, sampling, tools, system, seed
        self.answered = 0
        """How many answers were asked for: each is drawn with numbers of its own."""
        self.messages: list[Message] = []
        self.reset()

    def reset(self) -> None:
        """Forget what was said, but for the system message."""
        self.messages = [] if self.system is None else [{"role": "system", "content": self.system}]

    def say(self, text: str, on_text: Callable[[str], None], on_call: Callable[[ToolCall], None]) -> Rollout:
        """Say something, hand out the answer while it is written, and return it.

        Raises DataError where the conversation fills the model's context.
        """
        messages: list[Message] = [*self.messages, {"role": "user", "content": text}]
        self.check_room(messages)
        watch = Stream(self.loaded.tokenizer, on_text, on_call)
        sampler = Sampler(self.loaded, self.sampling, self.tools, watch=watch)
        prompt = Prompt(f"chat/{self.answered}", messages)
        self.answered += 1
        [[rollout]] = sampler.sample([prompt], 1, self.seed)
        ends_turn = sampler.protocol is not None and sampler.protocol.ends_turn
        self.messages = [*messages, *turns(rollout, self.loaded, ends_turn)]
        return rollout

    @property
    def context(self) -> int | None:
        """How many tokens the model takes; None where its config does not say."""
        return getattr(self.loaded.model.config.get_text_config(), "max_position_embeddings", None)

    def check_room(self, messages: Sequence[Message]) -> None:
        """Raise DataError for messages that leave no room for an answer."""
        tokens = len(prompt_ids(Prompt("chat", list(messages)), self.loaded.tokenizer, self.tools))
        if self.context is not None and tokens >= self.context:
            raise DataError(
                "",
                f"the conversation has {tokens} tokens, and the model takes {self.context} with the answer",
                "begin a new one (/reset), or say less",
            )


def turns(rollout: Rollout, loaded: Loaded, ends_turn: bool) -> list[Message]:
    """Return a completion as messages, so that a template lays them out as they were written.

    `ends_turn` says that calls were answered between turns (the chat template's tool turns); then what the
    model wrote before and after each answer is a turn of its own, calls included as it wrote them.
    """
    if not ends_turn:
        return [{"role": "assistant", "content": _text(rollout.ids, loaded)}]
    messages: list[Message] = []
    end = 0
    for written, run in groupby(rollout.written):
        start, end = end, end + len(list(run))
        if written:
            messages.append({"role": "assistant", "content": _text(rollout.ids[start:end], loaded)})
            calls = [call for call in rollout.calls if call.at == end]
            messages += [{"role": "tool", "name": call.name, "content": call.result} for call in calls]
    return messages


def _text(ids: Sequence[int], loaded: Loaded) -> str:
    """Return tokens as text, all of it but an end of turn, which the template writes again."""
    ends = end_tokens(loaded)
    kept = list(ids[:-1] if ids and ids[-1] in ends else ids)
    return str(loaded.tokenizer.decode(kept, skip_special_tokens=False))


def cut_by(rollout: Rollout, sampling: SamplingConfig) -> str | None:
    """Say what cut an answer off; None for one that ended by itself."""
    if rollout.finish is not Finish.length:
        return None
    if len(rollout.ids) >= sampling.max_tokens:
        return f"cut after {sampling.max_tokens} tokens (--max-tokens)"
    return "cut: the model's context is full (/reset begins anew)"
