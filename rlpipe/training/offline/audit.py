"""What training will really see: which tokens carry the loss, in the batches that the trainer makes.

Nothing here trusts how the batches came about. Rows and collator are the trainer's own, and where
the prompt ends is found out anew from the chat template.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import Head
from rlpipe.core.errors import Problem
from rlpipe.datasets.forms import Chat, Example, Labelled, Preference
from rlpipe.datasets.lazily import at
from rlpipe.models.layout import render
from rlpipe.training.audit import Audit, tokens_shown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Trainer

    from rlpipe.methods.base import Method
    from rlpipe.models.base import Loaded

SAMPLE = 256
"""Rows that are looked at, evenly spread over the data."""
SHOWN = 2
"""Rows that are shown token by token."""


@dataclass
class OfflineAudit(Audit):
    """What was found in the rows of a fixed dataset."""

    rows: int
    """Rows looked at."""
    sequences: int
    trained_share: float
    """Trained tokens among all tokens, padding left out."""
    stop_share: float | None
    """Sequences in which a stop token is trained; None where no token is predicted (a reward model)."""
    stop_tokens: list[str]
    untrained: int
    """Sequences without a trained token."""
    leaking: int
    """Sequences of which prompt tokens are trained although only completions should be."""
    double_bos: int
    """Sequences that begin with the begin-of-text token twice."""
    data: dict[str, Any] = field(default_factory=dict)
    """How many rows were read and dropped, how many examples dropped or cut, and their lengths
    (`TokenizedExamples.report`); rows of an epoch's last batch, and those that are left out (`last_batch`)."""
    turns: dict[str, int] = field(default_factory=dict)
    """Of the conversations that were looked at, the assistant's turns: `all` of them, those `trained`, those that make
    `calls` of tools, and those `changed` by the chat template, which leaves something of their text out."""
    references: list[str] = field(default_factory=list)
    """How reference log-probabilities came about: computed, or taken from the store; empty where none are kept."""

    def lines(self) -> list[str]:
        """Say the numbers, a line each."""
        stop = (
            "no stop token is predicted" if self.stop_share is None else f"stop token trained in {self.stop_share:.0%}"
        )
        lines = [
            f"{self.trained_share:.0%} of the tokens of {self.rows} rows are trained; {stop}"
            + (f" ({' '.join(self.stop_tokens)})" if self.stop_tokens else "")
        ]
        if self.turns:
            lines.append(_turns_line(self.turns))
        if "rows" in self.data:
            rows = self.data["rows"]
            lines.append(f"{rows['kept']} of {rows['read']} rows read are used; left out: {_counts(rows['dropped'])}")
        if self.data:
            dropped = _counts(self.data["dropped"])
            lines.append(
                f"{self.data['kept']} of {self.data['seen']} examples kept; dropped: {dropped}; cut: {self.data['cut']}"
            )
        lines += [f"reference log-probabilities: {note}" for note in self.references]
        last = self.data.get("last_batch")
        if last is not None:
            lines.append(_last_batch_line(**last))
        return lines


def _counts(dropped: dict[str, int]) -> str:
    return ", ".join(f"{count} {why}" for why, count in dropped.items()) or "none"


def _last_batch_line(rows: int, of: int, left_out: int, same: bool) -> str:
    which = "always the same ones" if same else "others each time"
    left = f"; {left_out} rows of an epoch fill no micro-batch and are left out, {which}" if left_out else ""
    return (f"the last batch of an epoch has {rows} rows of {of}" if rows else "an epoch has whole batches") + left


def _turns_line(turns: dict[str, int]) -> str:
    calls = f", {turns['calls']} of them with tool calls" if turns["calls"] else ""
    changed = f"; of {turns['changed']} the chat template leaves something out" if turns["changed"] else ""
    return f"{turns['trained']} of {turns['all']} turns of the assistant are trained{calls}{changed}"


def audit(trainer: Trainer, loaded: Loaded, method: Method, tokenized: Any = None) -> OfflineAudit:
    """Look at the batches of `trainer` and say what is wrong with them.

    `tokenized` (default: the trainer's own, a `TokenizedExamples`) holds the examples behind the
    rows, in order; without it the prompt's borders are not checked. Nothing is raised: see `errors`.
    """
    tokenized = getattr(trainer, "tokenized", None) if tokenized is None else tokenized
    rows: Any = trainer.train_dataset
    picked = [len(rows) * step // min(SAMPLE, len(rows)) for step in range(min(SAMPLE, len(rows)))]
    whole = bool(getattr(method, "trains_chosen_prompt", False))
    sequences = [s for row in picked for s in sequences_of(row, trainer.data_collator([rows[row]]), whole)]
    stops = _stop_ids(loaded)
    # Rows that hold several examples cannot be matched with them.
    examples = (
        tokenized.examples
        if tokenized is not None and len(tokenized.examples) == len(rows) and not getattr(method, "packs", False)
        else []
    )
    predicts = method.head is Head.causal_lm
    leaks = _leaks(sequences, examples, loaded.tokenizer) if _completions_only(method) else []
    found = OfflineAudit(
        rows=len(picked),
        sequences=len(sequences),
        trained_share=sum(sum(s.trained) for s in sequences) / max(1, sum(len(s.ids) for s in sequences)),
        stop_share=_share(sequences, lambda s: _trains(s, stops)) if predicts else None,
        stop_tokens=[str(loaded.tokenizer.convert_ids_to_tokens(stop)) for stop in sorted(stops)] if predicts else [],
        untrained=sum(not any(s.trained) for s in sequences),
        leaking=len(leaks),
        double_bos=sum(_double_bos(s, loaded.tokenizer) for s in sequences),
        data=_data(trainer, tokenized),
        turns=_turns(sequences, examples, loaded.tokenizer) if _completions_only(method) else {},
        references=trainer.references.notes if hasattr(trainer, "references") else [],
        shown=[_shown(s, loaded.tokenizer, stops) for s in sequences if s.row in picked[:SHOWN]],
    )
    _judge(found, examples, sequences, leaks)
    found.warnings += [
        *_not_offered(sequences, examples, loaded.tokenizer),
        *_said_by_others(sequences, examples, predicts),
    ]
    return found


def _data(trainer: Trainer, tokenized: Any) -> dict[str, Any]:
    """Return what became of rows and examples, with the rows of an epoch's last batch."""
    found = tokenized.report() if tokenized is not None else {}
    order = getattr(trainer, "order", None)
    if order is not None and order.count % order.batch_size:
        left = {"left_out": order.count - len(order), "same": order.fixed_batches}
        found["last_batch"] = {"rows": order.last, "of": order.batch_size, **left}
    return found


def _turns(sequences: Sequence[Fed], examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Count the assistant's turns of the conversations that were looked at, by what becomes of them."""
    turns = {"all": 0, "trained": 0, "calls": 0, "changed": 0}
    chats = [examples[sequence.row] for sequence in sequences] if examples and isinstance(examples[0], Chat) else []
    for example in chats:
        assert isinstance(example, Chat)
        (text,) = render([example.messages], tokenizer, False, [example.tools], [example.id])
        for message in example.messages:
            if message["role"] == "assistant":
                turns["all"] += 1
                turns["trained"] += message.get("weight") != 0
                turns["calls"] += bool(message.get("tool_calls"))
                turns["changed"] += message["content"].strip() not in text
    return turns if turns["all"] else {}


def _not_offered(
    sequences: Sequence[Fed], examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase
) -> Iterator[Problem]:
    """Say where rows offer tools that the chat template does not show to the model."""
    offering = [examples[sequence.row] for sequence in sequences if examples and examples[sequence.row].tools]
    silent = []
    for example in offering:
        user = [{"role": "user", "content": "."}]
        (text,) = render([user], tokenizer, True, [example.tools], [example.id])
        if not all(tool["function"]["name"] in text for tool in example.tools):
            silent.append(example.id)
    if silent:
        what = f"{len(silent)} of {len(offering)} rows offer tools that the chat template does not show ({silent[0]})"
        fix = "use a template that shows them, such as model.chat_template=chatml"
        yield Problem("audit.tools", what, fix, fatal=False)


def _said_by_others(sequences: Sequence[Fed], examples: Sequence[Example], predicts: bool) -> Iterator[Problem]:
    """Say where the compared or labelled answers hold turns of others: the library counts these as the answer's."""
    rows = list(dict.fromkeys(sequence.row for sequence in sequences)) if predicts and examples else []
    looked_at = at(examples, rows)
    mixed = [one for one in looked_at if any(turn["role"] != "assistant" for turn in _answers(one))]
    if mixed:
        what = f"{len(mixed)} of {len(rows)} rows have answers in which tools or users speak ({mixed[0].id})"
        fix = "their words count as the answer's: end the prompt with them, so that the answer is the last turn alone"
        yield Problem("audit.answers", what, fix, fatal=False)


def _answers(example: Example) -> list[dict[str, Any]]:
    if isinstance(example, Preference):
        return example.chosen + example.rejected
    return example.completion if isinstance(example, Labelled) else []


def _stop_ids(loaded: Loaded) -> set[int]:
    generation = getattr(loaded.model, "generation_config", None)
    configured = getattr(generation, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return {stop for stop in (*listed, loaded.tokenizer.eos_token_id) if stop is not None}


def _completions_only(method: Method) -> bool:
    return method.head is Head.causal_lm and bool(getattr(method, "marks_speaker", True))


def _trains(sequence: Fed, wanted: set[int]) -> bool:
    return any(bit and token in wanted for token, bit in zip(sequence.ids, sequence.trained, strict=True))


def _share(sequences: Sequence[Fed], test: Callable[[Fed], bool]) -> float:
    return sum(test(s) for s in sequences) / max(1, len(sequences))


def _double_bos(sequence: Fed, tokenizer: PreTrainedTokenizerBase) -> bool:
    bos = tokenizer.bos_token_id
    return bos is not None and sequence.ids[:2] == [bos, bos]


def _leaks(sequences: Sequence[Fed], examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> list[Fed]:
    """Find the sequences of which a prompt token is trained, laying each prompt out once more."""
    leaking = []
    for sequence in sequences if examples else ():
        if sequence.whole:
            continue
        example = examples[sequence.row]
        prompt = _prompt(example)
        if prompt:
            (text,) = render([prompt], tokenizer, True, [example.tools], [example.id])
            border = tokenizer(text, add_special_tokens=False)["input_ids"]
            common = 0
            while common < min(len(border), len(sequence.ids)) and border[common] == sequence.ids[common]:
                common += 1
            if any(sequence.trained[:common]):
                leaking.append(sequence)
    return leaking


def _prompt(example: Example) -> list[dict[str, Any]]:
    if isinstance(example, Chat):
        spoken = [place for place, message in enumerate(example.messages) if message["role"] == "assistant"]
        return example.messages[: spoken[0]] if spoken else []
    return getattr(example, "prompt", [])


def _shown(sequence: Fed, tokenizer: PreTrainedTokenizerBase, stops: set[int]) -> dict[str, Any]:
    tokens = tokens_shown(sequence.ids, sequence.trained, stops, tokenizer)
    title = f"row {sequence.row} {sequence.part}"
    return {"title": title, "prefix": "", "tokens": tokens}


def _judge(found: OfflineAudit, examples: Sequence[Example], sequences: Sequence[Fed], leaks: Sequence[Fed]) -> None:
    def named(sequence: Fed) -> str:
        return f"example {examples[sequence.row].id}" if examples else f"row {sequence.row}"

    if found.untrained:
        first = next(s for s in sequences if not any(s.trained))
        what = f"{found.untrained} of {found.sequences} sequences have no trained token ({named(first)} is the first)"
        fix = "look at what the chat template marks as the assistant's text, and at method.max_length"
        found.errors.append(Problem("audit.untrained", what, fix))
    if leaks:
        what = f"{len(leaks)} of {found.sequences} sequences train prompt tokens ({named(leaks[0])} is the first)"
        fix = "fix the chat template's {% generation %} marks, or ask for it with method.train_on=conversation"
        found.errors.append(Problem("audit.leaking", what, fix))
    if found.stop_share == 0 and found.untrained < found.sequences:
        stops = " ".join(found.stop_tokens) or "none is known"
        what = f"the stop token is never trained ({stops}), so the model would never learn to stop"
        cut = found.data.get("cut", 0) and found.data["cut"] == found.data["kept"]
        fix = (
            "raise method.max_length: every example is cut"
            if cut
            else (
                "let the chat template end the assistant's turn with the tokenizer's end-of-sequence token, inside "
                "{% generation %} … {% endgeneration %} (model.chat_template)"
            )
        )
        found.errors.append(Problem("audit.stop", what, fix))
    elif found.stop_share is not None and found.stop_share < 1:
        what = f"the stop token is not trained in {1 - found.stop_share:.0%} of the sequences"
        fix = "raise method.max_length, or drop longer examples with method.overlong=drop"
        found.warnings.append(Problem("audit.stop", what, fix, fatal=False))
    if found.double_bos:
        what = f"{found.double_bos} sequences begin with the begin-of-text token twice"
        fix = "take it out of the chat template, or out of the data"
        found.warnings.append(Problem("audit.bos", what, fix, fatal=False))


@dataclass(frozen=True)
class Fed:
    """One sequence of a batch, padding left out."""

    row: int
    part: str
    """`chosen` or `rejected` for a pair, else empty."""
    ids: list[int]
    trained: list[bool]
    whole: bool = False
    """Trained from its first token on, on purpose."""


def sequences_of(row: int, batch: dict[str, Any], whole_chosen: bool = False) -> Iterator[Fed]:
    """Take the sequences out of a batch of one row, whichever of TRL's layouts it has.

    With `whole_chosen` all of the chosen sequence is trained, as in ORPO.
    """
    if "chosen_labels" in batch:
        for part in ("chosen", "rejected"):
            whole, mask = whole_chosen and part == "chosen", batch[f"{part}_attention_mask"][0]
            trained = mask == 1 if whole else batch[f"{part}_labels"][0] != -100
            yield _unpadded(row, part, batch[f"{part}_input_ids"][0], trained, mask, whole)
        return
    ids, mask = batch["input_ids"], batch.get("attention_mask")
    if "labels" in batch:
        trained = batch["labels"] != -100
    elif "completion_mask" in batch:
        trained = batch["completion_mask"] == 1
    else:
        trained = batch["attention_mask"] == 1
    for place, part in enumerate(("chosen", "rejected") if len(ids) == 2 else ("",)):
        yield _unpadded(row, part, ids[place], trained[place], None if mask is None else mask[place])


def _unpadded(row: int, part: str, ids: Any, trained: Any, mask: Any, whole: bool = False) -> Fed:
    kept = [True] * len(ids) if mask is None else [bool(bit) for bit in mask.tolist()]
    pairs = [pair for pair, keep in zip(zip(ids.tolist(), trained.tolist(), strict=True), kept, strict=True) if keep]
    return Fed(row, part, [token for token, _ in pairs], [bit for _, bit in pairs], whole)
