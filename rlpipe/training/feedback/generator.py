"""A run that makes AI feedback: draw responses, have them judged, write the pairs. Importing this imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from rich.table import Table

from rlpipe.core import distributed
from rlpipe.core.errors import DataError
from rlpipe.core.files import Row, hashes, write_lines
from rlpipe.core.terminal import say, show
from rlpipe.datasets.forms import Prompt, text_of
from rlpipe.engines.sampler import Sampler
from rlpipe.methods.ai_feedback import AIFeedback, AIFeedbackConfig, Mode
from rlpipe.rewards.combine import Rewards
from rlpipe.training.feedback import pairs
from rlpipe.training.feedback.chunks import Chunks
from rlpipe.training.feedback.judging import judge
from rlpipe.training.feedback.pairs import Fate
from rlpipe.training.feedback.provenance import provenance
from rlpipe.training.feedback.responses import Prompts, draw, fitting

if TYPE_CHECKING:
    from rlpipe.training.base import GenerationContext, Parts

FOLDER = "feedback"
"""Where a run keeps the responses and judgements that its pairs are made from."""
TO_READ = 8
"""Pairs that samples.jsonl shows."""
SHOWN = ("prompt_id", "prompt", "chosen", "rejected", "score_chosen", "score_rejected", "judged")
LOST = {
    Fate.ties: "are ties",
    Fate.unreadable: "had no reply that could be read",
    Fate.unusable: "had a response that was empty or cut off",
}


def build(method: AIFeedback, parts: Parts) -> FeedbackGenerator:
    """Prepare to sample and judge. Raises DataError and ModelError."""
    return FeedbackGenerator(method.config, parts)


class FeedbackGenerator:
    """Makes pairs of the prompts of both splits."""

    def __init__(self, settings: AIFeedbackConfig, parts: Parts):
        """Prepare to sample and to judge: load what rewards need. Raises DataError where no prompt leaves room."""
        self.settings, self.config, self.parts = settings, parts.config, parts
        self.sampler = Sampler(parts.loaded, settings.sampling)
        splits = {"train": parts.data.train, "test": parts.data.test}
        self.prompts = [
            fitting(name, cast("list[Prompt]", split.examples), self.sampler, settings.max_length)
            for name, split in splits.items()
        ]
        if not self.prompts[0].kept:
            raise DataError(
                f"method.max_length={settings.max_length}",
                (
                    f"none of {self.prompts[0].too_long} prompts leaves room for responses of "
                    f"{settings.sampling.max_tokens} tokens"
                ),
                "raise method.max_length, or lower method.sampling.max_tokens",
            )
        self.rewards = Rewards(parts.resolved.make_rewards())
        self.rewards.check_columns(prompt for one in self.prompts for prompt in one.kept)
        self.rewards.start(self.config, parts.loaded.path, parts.loaded.model.device.type, parts.run_dir)
        self._steps = 0
        """Prompts of all phases so far: what numbers are logged by."""

    def generate(self, context: GenerationContext) -> dict[str, float]:
        """Sample, judge and write `data/train.jsonl` and `data/test.jsonl`; return the run's numbers.

        Raises Stopped when asked to stop, and DataError where no pair is left.
        """
        called = self._calls()
        try:
            drawn = {one.split: self._drawn(one, context) for one in self.prompts}
            judged = {one.split: self._judged(one, drawn[one.split], context) for one in self.prompts}
        finally:
            if self._calls():
                context.cost["calls"] = self._calls() - called
        return self._write(drawn, judged, context)

    def _calls(self) -> int:
        return sum(reward.calls for reward in self.rewards.rewards.values())

    def _drawn(self, prompts: Prompts, context: GenerationContext) -> list[Row]:
        def make(place: slice) -> list[Row]:
            rows = draw(prompts.kept[place], self.sampler, self.settings.samples, self.config.seed)
            context.cost["tokens"] = context.cost.get("tokens", 0) + sum(pairs.lengths(rows))
            return rows

        return self._complete("responses", "sampling", prompts, make, context)

    def _judged(self, prompts: Prompts, drawn: Sequence[Row], context: GenerationContext) -> list[Row]:
        def make(place: slice) -> list[Row]:
            return judge(drawn[place], prompts.kept[place], prompts.ids[place], self.settings, self.rewards)

        return self._complete("judgements", "judging", prompts, make, context)

    def _complete(
        self, name: str, doing: str, prompts: Prompts, make: Callable[[slice], list[Row]], context: GenerationContext
    ) -> list[Row]:
        first = self._steps

        def on_chunk(done: int, rows: list[Row]) -> None:
            numbers = pairs.drawn_numbers(rows) if name == "responses" else pairs.judged_numbers(rows)
            context.record.log_metrics(first + done, numbers)
            if distributed.is_main():
                context.tracker.log(numbers, first + done)

        file = self.parts.run_dir / FOLDER / f"{name}.{prompts.split}.jsonl"
        ids = [prompt.id for prompt in prompts.kept]
        self._steps += len(ids)
        rows = Chunks(file, ids, self.settings.chunk, context.record, context.stop)
        return rows.complete(make, f"{doing} for {prompts.split}", on_chunk, self.config.log.progress)

    def _write(
        self, drawn: dict[str, list[Row]], judged: dict[str, list[Row]], context: GenerationContext
    ) -> dict[str, float]:
        shared = provenance(self.config, self.settings, self.parts.loaded)
        rows: dict[str, list[Row]] = {}
        found: dict[str, float] = {}
        for prompts in self.prompts:
            split = prompts.split
            rows[split], fates = pairs.rows(drawn[split], judged[split], self.settings, shared)
            counted = pairs.numbers(drawn[split], fates, rows[split]) | {"too_long": float(prompts.too_long)}
            found |= {f"{split}/{name}": value for name, value in counted.items()}
        bias = pairs.bias([row for part in judged.values() for row in part])
        if self.settings.mode is Mode.pairwise:
            found |= {f"judge/{name}": value for name, value in bias.numbers().items()}
        show(numbers_table(found))
        self._note(bias.note(), context)
        if not rows["train"]:
            raise _nothing(found, bias.note())
        self._keep(rows, context)
        return found

    def _keep(self, rows: dict[str, list[Row]], context: GenerationContext) -> None:
        """Write the splits that have pairs, and a few pairs to read."""
        if not rows["test"]:
            self._note("no pair of held-out prompts is left: there is no data/test.jsonl", context)
        if not context.record.may_write():
            return
        folder = self.parts.run_dir / "data"
        for split, pair_rows in rows.items():
            if pair_rows:
                write_lines(folder / f"{split}.jsonl", pair_rows)
        context.record.update(data_files=hashes(folder))
        to_read = [{name: row[name] for name in SHOWN} for row in rows["train"][:TO_READ]]
        context.record.log_samples(self._steps, [_readable(row) for row in to_read])
        context.tracker.table("samples", [_readable(row) for row in to_read], self._steps)

    def _note(self, note: str | None, context: GenerationContext) -> None:
        if note is not None:
            context.record.update(notes=[note])
            say(f"note: {note}")


def _readable(row: Row) -> Row:
    return {**row, "chosen": text_of(row["chosen"][-1:]), "rejected": text_of(row["rejected"][-1:])}


def _nothing(found: dict[str, float], note: str | None) -> DataError:
    losses = ", ".join(f"{found[f'train/{fate.value}']:.0f} {words}" for fate, words in LOST.items())
    why = f" ({note})" if note else ""
    fix = (
        f"read {FOLDER}/ in the run's folder; another judge or reward, a higher method.sampling.temperature, or "
        "more method.sampling.max_tokens may help"
    )
    return DataError("feedback", f"no pair is left of {found['train/prompts']:.0f} prompts: {losses}{why}", fix)


WORDS = {
    "prompts": "prompts",
    "too_long": "prompts left out: too long",
    "kept": "pairs kept",
    "ties": "dropped: ties",
    "unreadable": "dropped: no readable reply",
    "unusable": "dropped: a response empty or cut off",
    "response_length": "mean response, tokens",
    "ended_by_length": "responses cut off, share",
    "length_chosen": "mean chosen, tokens",
    "length_rejected": "mean rejected, tokens",
    "longer_chosen": "the longer one chosen, share",
    "score_chosen": "mean score chosen",
    "score_rejected": "mean score rejected",
}
JUDGE = {
    "first_answer_rate": "judge: first answer preferred, share",
    "order_consistency": "judge: both orders agree, share",
}


def numbers_table(found: Mapping[str, float]) -> Table:
    """Return the table of a run's numbers."""
    table = Table("AI feedback", "train", "test")
    for name, words in WORDS.items():
        cells = [_shown(found.get(f"{split}/{name}")) for split in ("train", "test")]
        if any(cells):
            table.add_row(words, *cells)
    for name, words in JUDGE.items():
        if f"judge/{name}" in found:
            table.add_row(words, _shown(found[f"judge/{name}"]), "")
    return table


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
