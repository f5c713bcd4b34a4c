"""What a person sees of a run that made AI feedback: its numbers, train and test beside each other."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

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
