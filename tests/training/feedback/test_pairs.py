"""Which responses become a pair: the three modes, ties, and what can be used of neither."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpipe.methods.ai_feedback import AIFeedbackConfig, Cut, Mode
from rlpipe.training.feedback import pairs
from rlpipe.training.feedback.judging import two_by_two
from rlpipe.training.feedback.pairs import Fate
from rlpipe.training.feedback.responses import usable


def drawn(*texts: str, cut: tuple[int, ...] = ()) -> dict:
    responses = [
        {"text": text, "ids": list(range(len(text))), "finish": "length" if place in cut else "stop"}
        for place, text in enumerate(texts)
    ]
    return {"id": "train/0", "prompt": [{"role": "user", "content": "Why?"}], "responses": responses}


def scored(*values: float | None) -> dict:
    entries = [None if one is None else {"value": one, "parts": {"r": {"value": one}}} for one in values]
    return {"id": "train/0", "scores": entries}


def compared(*entries: tuple[tuple[int, int], str | None, str | None]) -> dict:
    names = ("pair", "forward", "backward")
    return {"id": "train/0", "verdicts": [dict(zip(names, entry, strict=True)) for entry in entries]}


def fates(row: dict, judged: dict, **settings) -> list[tuple]:
    own = AIFeedbackConfig(name="ai_feedback", **settings)
    return [
        (one.chosen, one.rejected) if one.fate is Fate.kept else one.fate for one in pairs.outcomes(row, judged, own)
    ]


def test_the_best_is_set_against_the_worst():
    row = drawn("a", "b", "c", "d")
    assert fates(row, scored(1, 4, 0, 3)) == [(1, 2)]
    assert fates(row, scored(1, None, 0.5, None)) == [(0, 2)]
    assert fates(row, scored(2, 2, 2, 2)) == [Fate.ties]
    assert fates(row, scored(1, 1.4, 1.2, 1), margin=0.5) == [Fate.ties]
    assert fates(row, scored(None, 1, None, None)) == [Fate.unreadable]


def test_a_rubric_takes_responses_two_by_two():
    row = drawn("a", "b", "c", "d")
    assert fates(row, scored(1, 4, 3, 0), mode=Mode.rubric) == [(1, 0), (2, 3)]
    assert fates(row, scored(1, 1, None, 0), mode=Mode.rubric) == [Fate.ties, Fate.unreadable]
    assert fates(row, scored(1, 1.1, 5, 0), mode=Mode.rubric, margin=0.2) == [Fate.ties, (2, 3)]


def test_a_comparison_counts_where_both_orders_agree():
    row = drawn("a", "b", "c", "d")
    judged = compared(((0, 1), "second", "first"), ((2, 3), "first", "first"))
    assert fates(row, judged, mode=Mode.pairwise) == [(1, 0), Fate.ties]
    judged = compared(((0, 1), "first", None), ((2, 3), "tie", "tie"))
    assert fates(row, judged, mode=Mode.pairwise) == [Fate.unreadable, Fate.ties]


@pytest.mark.parametrize("mode", [Mode.rubric, Mode.pairwise])
def test_what_is_empty_or_cut_off_is_in_no_pair(mode):
    row = drawn("a", " ", "c", "d", cut=(3,))
    own = AIFeedbackConfig(name="ai_feedback", mode=mode)
    assert usable(row, own) == [True, False, True, False]
    empty = scored(1, None, 2, None) if mode is Mode.rubric else compared()
    assert fates(row, empty, mode=mode) == [Fate.unusable, Fate.unusable]
    kept = AIFeedbackConfig(name="ai_feedback", mode=mode, cut=Cut.keep)
    assert two_by_two(usable(row, kept)) == [(2, 3)]
    assert fates(drawn("", "b"), scored(None, 1)) == [Fate.unusable]


def test_a_row_has_the_columns_of_ultrafeedback_and_says_where_it_comes_from():
    row, judged = drawn("bad", "better"), scored(1, 2)
    [outcome] = pairs.outcomes(row, judged, AIFeedbackConfig(name="ai_feedback"))
    made = pairs.pair_row(row, judged, outcome, {"policy": "p"})
    asked = {"role": "user", "content": "Why?"}
    assert made["prompt"] == "Why?"
    assert made["chosen"] == [asked, {"role": "assistant", "content": "better"}]
    assert made["rejected"] == [asked, {"role": "assistant", "content": "bad"}]
    assert (made["score_chosen"], made["score_rejected"]) == (2, 1)
    assert made["judged"] == {"chosen": {"r": {"value": 2}}, "rejected": {"r": {"value": 1}}}
    assert (made["tokens"], made["responses"], made["policy"], made["prompt_id"]) == ([6, 3], [1, 0], "p", "train/0")


def test_length_bias_is_measured():
    rows, judgements = [drawn("a", "bbb"), drawn("cc", "d"), drawn("ee", "ff")], [scored(1, 2)] * 3
    kept, counted = pairs.rows(rows, judgements, AIFeedbackConfig(name="ai_feedback"), {})
    found = pairs.numbers(rows, counted, kept)
    assert found["longer_chosen"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert (found["length_chosen"], found["length_rejected"]) == (2, pytest.approx(5 / 3))
    assert (found["kept"], found["prompts"], found["response_length"]) == (3, 3, pytest.approx(11 / 6))
    assert pairs.numbers([], Counter(), [])["kept"] == 0


SIZES = st.integers(2, 8)


@given(st.data(), st.sampled_from([Mode.best_of_n, Mode.rubric]), st.floats(0, 2))
def test_every_possible_pair_has_one_fate_and_kept_ones_are_told_apart(data, mode, margin):
    count = 2 * data.draw(st.integers(1, 4))
    texts = data.draw(st.lists(st.sampled_from(["", "x", "yy"]), min_size=count, max_size=count))
    row = drawn(*texts, cut=tuple(data.draw(st.sets(st.integers(0, count - 1)))))
    own = AIFeedbackConfig(name="ai_feedback", mode=mode, margin=margin)
    may = usable(row, own)
    values = data.draw(st.lists(st.one_of(st.none(), st.floats(-5, 5)), min_size=count, max_size=count))
    judged = scored(*(value if one else None for value, one in zip(values, may, strict=True)))
    kept, counted = pairs.rows([row], [judged], own, {})
    assert sum(counted.values()) == (1 if mode is Mode.best_of_n else count // 2)
    assert counted[Fate.kept] == len(kept)
    for one in kept:
        assert one["score_chosen"] - one["score_rejected"] > margin
        assert all(may[number] for number in one["responses"])
    if mode is Mode.best_of_n and kept:
        held = [value for value, one in zip(values, may, strict=True) if one and value is not None]
        assert (kept[0]["score_chosen"], kept[0]["score_rejected"]) == (max(held), min(held))
