"""What an audit says before training: what will really be trained, and what is surely wrong with it.

Each family of methods looks at what it feeds (`training.offline.audit`, `training.online.audit`); how findings are kept
and shown is the same for all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rlpipe.core.errors import Problem
from rlpipe.core.visible import visible

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.text import Text as RichText
    from transformers import PreTrainedTokenizerBase


@dataclass
class Audit:
    """What was found; a family adds its own numbers and says them in `lines`."""

    shown: list[dict[str, Any]] = field(default_factory=list, kw_only=True)
    """Sequences token by token: `title`, an untrained `prefix` as text, and `tokens` (text, trained, stop)."""
    thawing: list[str] = field(default_factory=list, kw_only=True)
    """How many weights train from which step; empty where all do from the start."""
    errors: list[Problem] = field(default_factory=list, kw_only=True)
    """What is surely wrong, and stops the run."""
    warnings: list[Problem] = field(default_factory=list, kw_only=True)

    def lines(self) -> list[str]:
        """Say the numbers, a line each."""
        return []

    def summary(self) -> str:
        """Say the numbers, and what is wrong."""
        return "\n".join([*self.lines(), *self.thawing, *(str(problem) for problem in (*self.errors, *self.warnings))])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for the record."""
        plain = {key: value for key, value in vars(self).items() if key not in ("errors", "warnings")}
        return {**plain, "errors": [str(error) for error in self.errors], "warnings": [str(w) for w in self.warnings]}

    def __rich__(self) -> RichText:
        """Show it on a terminal: trained tokens green, others dim, stop tokens in reverse."""
        from rich.text import Text as RichText

        page = RichText(visible(self.summary()) + "\n")
        for shown in self.shown:
            page.append(f"\n{visible(shown['title'])}\n", style="bold")
            page.append(visible(shown["prefix"]), style="dim")
            for token in shown["tokens"]:
                style = "green" if token["trained"] else "dim"
                page.append(token["text"], style=f"{style} reverse" if token["stop"] else style)
            page.append("\n")
        return page


def tokens_shown(
    ids: list[int], trained: list[bool], stops: Collection[int], tokenizer: PreTrainedTokenizerBase
) -> list[dict[str, Any]]:
    """Return tokens as text, each with whether it is trained and whether it ends a turn."""
    return [
        {"text": _text(token, tokenizer), "trained": bit, "stop": token in stops}
        for token, bit in zip(ids, trained, strict=True)
    ]


def _text(token: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a token as text; SentencePiece's decoders leave the space of a lone word out."""
    text = visible(str(tokenizer.decode([token])))
    return f" {text}" if str(tokenizer.convert_ids_to_tokens(token)).startswith("▁") else text
