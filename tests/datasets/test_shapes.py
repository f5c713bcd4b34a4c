"""Which shape rows are taken to have, by their columns alone; what rows become is in tests/models/test_shapes.py."""

from __future__ import annotations

import pytest

from rlpipe.config.kinds import SystemMessages
from rlpipe.core.errors import DataError
from rlpipe.datasets.files import Files, FilesConfig
from rlpipe.datasets.ratings import best_and_worst
from rlpipe.datasets.shapes import SHAPES, FormName, recognise, usual
from rlpipe.datasets.system import change


@pytest.mark.parametrize(
    ("columns", "title"),
    [
        ("prompt chosen rejected", "pairs"),
        ("conversations chosen rejected", "pairs"),
        ("prompt prompt_id messages chosen rejected score_chosen", "pairs"),
        ("source instruction models completions correct_answers", "UltraFeedback's rated completions"),
        ("prompt completion label", "labelled completions"),
        ("messages label", "labelled conversations"),
        ("conversations label", "labelled ShareGPT conversations"),
        ("prompt choices answer", "multiple choice"),
        ("prompt messages", "conversations"),
        ("id conversations system tools", "ShareGPT conversations"),
        ("prompt completion", "prompt and completion"),
        ("prompt response", "prompt and response"),
        ("question answer", "question and answer"),
        ("instruction input output", "Alpaca's instructions"),
        ("prompt nums target", "prompts"),
        ("text label", "plain text"),
        ("a b", None),
    ],
)
def test_a_shape_is_told_by_its_columns(columns: str, title: str | None) -> None:
    found = recognise(columns.split())
    assert (found and found.title) == title


def test_every_shape_can_be_reached_and_every_form_has_one() -> None:
    assert all(recognise(shape.columns) is shape for shape in SHAPES)
    assert {usual(form).form for form in FormName} == set(FormName) - {FormName.auto}
    assert usual(FormName.auto).columns == usual(FormName.completion).columns == ("prompt", "completion")


def test_a_form_that_is_given_is_kept_to() -> None:
    files = Files(FilesConfig(name="files", source="sample", form=FormName.prompt))
    files.adapt(["prompt", "completion"])
    assert files.shape.title == "prompts"
    assert files.notes() == []


def test_columns_called_otherwise_count_by_the_names_that_are_read() -> None:
    files = Files(FilesConfig(name="files", source="sample", columns={"messages": "talk"}))
    files.adapt(["talk", "id"])
    assert files.shape.title == "conversations"


def test_rows_of_the_hub_are_not_taken_for_another_form_in_the_middle_of_a_run() -> None:
    files = Files(FilesConfig(name="files", source="hub", hub="org/name"))
    files.adapt(["question", "answer"])
    assert files.notes() == ["rows are taken as question and answer (columns question, answer)"]
    with pytest.raises(DataError, match=r"dataset\.form: is not given, and the rows of org/name are conversations"):
        files.adapt(["messages"])


@pytest.mark.parametrize(
    ("ratings", "pair"),
    [
        ([{"rating": 1}, {"rating": 3}, {"rating": "2"}], ("1", "0")),
        ([{"score": 1.5}, {"score": None}, {"score": 0.5}], ("0", "2")),
        ([{"fine-grained_score": 2, "overall_score": 10}, {"fine-grained_score": 4, "overall_score": 1}], ("1", "0")),
        ([{"rating": 2}, {"rating": 2}, {"rating": 1}, {"rating": 1}], ("0", "2")),
        ([{"rating": 2}, {"rating": float("nan")}], None),
    ],
)
def test_the_best_is_set_against_the_worst(ratings: list[dict], pair: tuple[str, str] | None) -> None:
    completions = [{"response": str(number), **one} for number, one in enumerate(ratings)]
    if pair is None:
        with pytest.raises(ValueError, match="fewer than two rated"):
            best_and_worst(completions)
    else:
        assert best_and_worst(completions) == pair


def test_a_system_message_needs_a_user_turn_to_be_folded_into() -> None:
    system, answer = {"role": "system", "content": "S"}, {"role": "assistant", "content": "A"}
    with pytest.raises(ValueError, match="no user turn after it"):
        change([system, answer], SystemMessages.fold)
    assert change([system, answer], SystemMessages.drop) == [answer]
