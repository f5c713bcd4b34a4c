"""Converters between forms, and the way that rows take."""

from __future__ import annotations

import pytest

from rlpipe.config import plugins
from rlpipe.datasets import forms
from rlpipe.datasets.forms import Chat, Choice, Completion, Labelled, Preference, Prompt, Text, apply, content, route
from rlpipe.run.check.fitting import datasets_for, methods_for, serving

ASK = [{"role": "user", "content": "2 + 2?"}]
GOOD = [{"role": "assistant", "content": "4"}]
BAD = [{"role": "assistant", "content": "5"}]

EXAMPLES = {
    Chat: Chat("train/1", ASK + GOOD),
    Completion: Completion("train/1", ASK, GOOD),
    Preference: Preference("train/1", ASK, GOOD, BAD),
    Labelled: Labelled("train/1", ASK, GOOD, True),
    Choice: Choice("train/1", ASK, ["5", "4", "6"], 1),
}


def test_preference_becomes_its_chosen_completion() -> None:
    assert forms.preference_to_completion(EXAMPLES[Preference]) == [Completion("train/1", ASK, GOOD)]


def test_preference_becomes_a_good_and_a_bad_row_with_ids_of_their_own() -> None:
    assert forms.preference_to_labelled(EXAMPLES[Preference]) == [
        Labelled("train/1.0", ASK, GOOD, True),
        Labelled("train/1.1", ASK, BAD, False),
    ]


def test_completion_becomes_a_chat_and_a_chat_a_completion() -> None:
    assert forms.completion_to_chat(EXAMPLES[Completion]) == [EXAMPLES[Chat]]
    assert forms.chat_to_completion(EXAMPLES[Chat]) == [EXAMPLES[Completion]]


def test_a_chat_is_split_before_its_last_assistant_turn() -> None:
    chat = Chat(
        "train/1", [*ASK, *GOOD, {"role": "user", "content": "and 2 + 3?"}, *BAD, {"role": "user", "content": "ta"}]
    )
    assert forms.chat_to_completion(chat) == [Completion("train/1", chat.messages[:3], BAD)]


@pytest.mark.parametrize(("messages", "why"), [(ASK, "no assistant turn"), (GOOD, "nothing before")])
def test_a_chat_without_an_answer_or_a_question_is_no_completion(messages: list, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        forms.chat_to_completion(Chat("train/1", messages))


def test_choice_sets_the_right_answer_against_each_wrong_one() -> None:
    pairs = forms.choice_to_preference(EXAMPLES[Choice])
    assert [(pair.id, pair.chosen[0]["content"], pair.rejected[0]["content"]) for pair in pairs] == [
        ("train/1.0", "4", "5"),
        ("train/1.1", "4", "6"),
    ]
    [single] = forms.choice_to_preference(Choice("train/2", ASK, ["4", "5"], 0))
    assert single == Preference("train/2", ASK, GOOD, BAD)


def test_choice_becomes_its_right_answer() -> None:
    assert forms.choice_to_completion(EXAMPLES[Choice]) == [Completion("train/1", ASK, GOOD)]


@pytest.mark.parametrize("form", [Preference, Completion, Choice])
def test_prompts_keep_the_reference_answer_for_rewards(form: type) -> None:
    way = route(form, (Prompt,))
    assert way is not None
    assert apply(way[1], EXAMPLES[form]) == [Prompt("train/1", ASK, {"reference": "4"})]


def test_native_form_wins_over_one_that_is_listed_first() -> None:
    assert route(Completion, (Chat, Completion)) == (Completion, [])


def test_among_equally_short_ways_the_first_listed_form_wins() -> None:
    assert route(Preference, (Labelled, Completion)) == (Labelled, [forms.preference_to_labelled])
    assert route(Preference, (Completion, Labelled)) == (Completion, [forms.preference_to_completion])


def test_a_direct_way_wins_over_a_longer_one() -> None:
    assert route(Choice, (Chat, Completion)) == (Completion, [forms.choice_to_completion])


def test_converters_are_joined() -> None:
    way = route(Choice, (Labelled,))
    assert way == (Labelled, [forms.choice_to_preference, forms.preference_to_labelled])
    assert [one.id for one in apply(way[1], EXAMPLES[Choice])] == [
        "train/1.0.0",
        "train/1.0.1",
        "train/1.1.0",
        "train/1.1.1",
    ]


@pytest.mark.parametrize("native", [Chat, Completion, Preference, Choice, Labelled, Prompt])
def test_nothing_becomes_plain_text_silently(native: type) -> None:
    assert route(native, (Text,)) is None


@pytest.mark.parametrize(("native", "takes"), [(Prompt, (Completion,)), (Chat, (Preference,)), (Chat, ())])
def test_no_way(native: type, takes: tuple) -> None:
    assert route(native, takes) is None


@pytest.mark.parametrize("pair", list(forms.CONVERTERS))
def test_every_converter_gives_the_form_that_the_table_says(pair: tuple[type, type]) -> None:
    start, end = pair
    made = forms.CONVERTERS[pair](EXAMPLES[start])
    assert made
    assert {type(one) for one in made} == {end}
    assert len({one.id for one in made}) == len(made)
    assert all(one.id.startswith("train/1") for one in made)


def test_content_ignores_id_and_white_space_only() -> None:
    spaced = Completion("x", [{"role": "user", "content": " 2 +\n2? "}], GOOD)
    assert content(spaced) == content(EXAMPLES[Completion])
    assert content(Completion("train/1", ASK, BAD)) != content(EXAMPLES[Completion])
    assert content(Text("a", "b c")) != content(Text("a", "bc"))


def test_content_tells_where_one_field_ends() -> None:
    one, other = Choice("a", ASK, ["x y", "z"], 0), Choice("a", ASK, ["x", "y z"], 0)
    assert content(one) != content(other)


class PairMethod:
    takes = (Preference,)


class PromptMethod:
    takes = (Prompt,)


def test_the_table_of_what_serves_what() -> None:
    datasets = {name: plugins.load("dataset", name) for name in ("piqa", "gsm8k", "countdown", "files")}
    methods = {"pairs": PairMethod, "prompts": PromptMethod}
    assert serving(datasets, methods) == {
        "piqa": {"pairs": "choice → preference", "prompts": "choice → prompt"},
        "gsm8k": {"prompts": "completion → prompt"},
        "countdown": {"prompts": "prompt"},
        "files": {"pairs": "as configured", "prompts": "as configured"},
    }
    assert methods_for(Completion, methods) == ["prompts"]
    assert datasets_for((Preference,), datasets) == ["piqa", "files"]
