"""The built-in datasets: every layout of their rows, and the real rows where they are there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from rlpipe.core.errors import DataError
from rlpipe.datasets.clean import unusable
from rlpipe.datasets.countdown import WARM_START
from rlpipe.datasets.forms import Choice, Completion, Labelled, Preference, Prompt, Text
from rlpipe.datasets.load import data_problems, load
from rlpipe.datasets.piqa import Wording

ASK = {"role": "user", "content": "q"}
GOOD = {"role": "assistant", "content": "good"}
BAD = {"role": "assistant", "content": "bad"}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": [ASK, GOOD], "rejected": [ASK, BAD], "messages": [ASK, GOOD]},
        {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [ASK], "chosen": "good", "rejected": "bad"},
    ],
)
def test_every_layout_of_a_pair_is_read_alike(make, row: dict) -> None:
    assert make("ultrafeedback").example(row, "train/0") == Preference("train/0", [ASK], [GOOD], [BAD])


def test_a_longer_conversation_keeps_its_common_turns_as_the_prompt(make) -> None:
    more = {"role": "user", "content": "more"}
    row = {"chosen": [ASK, BAD, more, GOOD], "rejected": [ASK, BAD, more, BAD]}
    assert make("ultrafeedback").example(row, "0") == Preference("0", [ASK, BAD, more], [GOOD], [BAD])


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}


def test_keys_that_a_table_filled_with_nothing_are_left_out(make) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "name": "f"}], "name": None}
    row = {"messages": [{**ASK, "tool_calls": None}, call, GOOD]}
    assert make("smoltalk").example(row, "0").messages == [
        ASK,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        GOOD,
    ]


def test_a_pair_without_any_prompt_cannot_be_used(make) -> None:
    with pytest.raises(ValueError, match="no prompt"):
        make("ultrafeedback").example({"chosen": "good", "rejected": "bad"}, "train/0")


def test_an_open_think_tag_moves_from_the_query_to_the_completion(make) -> None:
    example = make("warmstart").example(
        {"query": "q\nAssistant: Let me\n<think> ", "completion": "1 + 1\n</think>"}, "0"
    )
    assert example.prompt[0]["content"] == "q\nAssistant: Let me"
    assert example.completion[0]["content"] == "<think>\n1 + 1\n</think>"


def test_the_rest_of_a_trace_stays_as_it_is(make) -> None:
    text = "<think>\n a  b\n</think>\n<answer> 1 </answer> "
    assert make("warmstart").example({"query": "q", "completion": text}, "0").completion[0]["content"] == text


def test_countdown_asks_in_given_words_and_hands_on_its_columns(make) -> None:
    example = make("countdown", prompt="Make {target} of {nums}!").example({"nums": [1, 2], "target": 3, "x": 1}, "0")
    assert example == Prompt("0", [{"role": "user", "content": "Make 3 of [1, 2]!"}], {"nums": [1, 2], "target": 3})
    assert [problem.where for problem in make("countdown", prompt="Make it!").problems()] == ["dataset.prompt"]


@pytest.mark.parametrize(("nums", "target"), [("1, 2", 3), ([], 3), ([1.5], 3), ([1], True)])
def test_countdown_refuses_what_is_no_puzzle(make, nums: object, target: object) -> None:
    with pytest.raises(ValueError, match="whole number"):
        make("countdown").example({"nums": nums, "target": target}, "0")


def test_countdown_knows_a_puzzle_in_another_order(make) -> None:
    dataset = make("countdown")
    keys = [
        dataset.key(dataset.example({"nums": nums, "target": 6}, "0")) for nums in ([1, 2, 3], [3, 1, 2], [1, 2, 4])
    ]
    assert keys[0] == keys[1] != keys[2]


def test_gsm8k_needs_a_final_answer(make) -> None:
    with pytest.raises(ValueError, match="no final answer after ####"):
        make("gsm8k").example({"question": "q", "answer": "it is 3"}, "0")
    asked = make("gsm8k", instruction="End with ####.").example({"question": "q", "answer": "#### 3"}, "0")
    assert asked.prompt[0]["content"] == "q\nEnd with ####."


@pytest.mark.parametrize(
    ("wording", "goal", "solution"),
    [("goal", "g?", "a"), ("question", "Question: g?\nAnswer:", "a"), ("labelled", "Question: g?", "Answer: a")],
)
def test_piqa_is_worded_as_asked(make, wording: str, goal: str, solution: str) -> None:
    dataset = make("piqa", wording=Wording(wording))
    row = {"goal": "g?", "sol1": "a", "sol2": "b", "label": 0}
    example = dataset.example(row, "0")
    assert (example.prompt[0]["content"], example.choices[0], len(example.choices)) == (goal, solution, 2)
    for name in ("goal", "sol1", "sol2"):
        assert unusable(dataset.example({**row, name: " "}, "0")), "a row without text stays one"


def test_piqa_labels_of_the_original_layout(make, write, tmp_path: Path) -> None:
    path = write([{"goal": f"g{n}", "sol1": "a", "sol2": "b"} for n in range(3)], "valid.jsonl")
    labels = tmp_path / "valid-labels.lst"
    labels.write_text("0\n1\n")
    with pytest.raises(DataError, match=r"valid-labels\.lst: 2 labels for the 3 rows of valid\.jsonl"):
        load(make("piqa", source=str(path)), (Choice,), 0)
    labels.write_text("0\n1\n2\n")
    with pytest.raises(DataError, match=r"valid-labels\.lst, line 3: '2' is neither 0 nor 1"):
        load(make("piqa", source=str(path)), (Choice,), 0)
    labels.write_text("0\n1\n1\n")
    assert data_problems(make("piqa", source=str(path))) == []
    splits = load(make("piqa", source=str(path)), (Choice,), 0)
    assert sorted((one.id, one.answer) for one in splits.train.examples + splits.test.examples) == [
        ("train/0", 0), ("train/1", 1), ("train/2", 1)
    ]  # fmt: skip


def test_piqa_without_labels_names_the_column(make, write) -> None:
    path = write([{"goal": "g", "sol1": "a", "sol2": "b"}] * 2)
    with pytest.raises(DataError, match="needs the column 'label'"):
        load(make("piqa", source=str(path)), (Choice,), 0)


@pytest.mark.slow
def test_real_ultrafeedback(make, shared_dir: Path) -> None:
    dataset = make("ultrafeedback", source=str(shared_dir / "data" / "ultrafeedback"), test_limit=None)
    splits = load(dataset, (Preference,), 0)
    assert splits.train.report.read == 1000
    assert splits.train.report.dropped == {"chosen == rejected": 4, "empty completion": 2}
    assert splits.test.report.notes == ["the folder has no split 'test_prefs'; its 'eval' stands for it"]
    labelled = load(dataset, (Labelled,), 0).train.examples
    assert Counter(example.label for example in labelled) == {True: 994, False: 994}


@pytest.mark.slow
def test_real_countdown(make, shared_dir: Path) -> None:
    folder = str(shared_dir / "data" / "countdown")
    splits = load(make("countdown", source=folder, test_split="test"), (Prompt,), 0)
    assert splits.train.report.dropped == {"repeats an earlier row": 22, "stands in the test split too": 5}
    assert set(splits.train.examples[0].columns) == {"nums", "target"}


@pytest.mark.slow
def test_real_traces_ask_as_countdown_does(make, shared_dir: Path) -> None:
    """The wording that rlpipe asks in is that of real rows, word for word."""
    folder = str(shared_dir / "data" / "countdown")
    columns = {"query": "question", "completion": "answer"}
    splits = load(make("warmstart", source=folder, columns=columns), (Completion,), 0)
    assert splits.train.report.kept == 10_240
    example = splits.train.examples[0]
    assert example.completion[0]["content"].startswith("<think>\n19 + 35 = 54")
    asked = make("countdown", source=folder).example({"nums": [44, 19, 35], "target": 98}, "0")
    assert example.prompt == asked.prompt
    assert WARM_START.startswith(example.prompt[0]["content"][:100])


@pytest.mark.slow
def test_real_gsm8k(make, shared_dir: Path) -> None:
    splits = load(make("gsm8k", source=str(shared_dir / "data" / "gsm8k"), test_limit=None), (Prompt,), 0)
    assert (len(splits.train.examples), len(splits.test.examples)) == (7473, 1319)
    assert splits.train.report.dropped == {}
    assert all(float(example.columns["answer"]) is not None for example in splits.test.examples)


def test_real_piqa(make, shared_dir: Path) -> None:
    dataset = make(
        "piqa", source=str(shared_dir / "data" / "piqa"), train_split="valid", test_split=None, test_limit=None
    )
    splits = load(dataset, (Choice,), 0)
    both = splits.train.examples + splits.test.examples
    assert len(both) == 1838
    labels = (shared_dir / "data" / "piqa" / "valid-labels.lst").read_text().split()
    assert all(example.answer == int(labels[int(example.id.partition("/")[2])]) for example in both)


def test_real_dialogues_through_files(make, shared_dir: Path) -> None:
    from rlpipe.datasets.shapes import FormName

    path = shared_dir / "data" / "helpful" / "helpful-base.test.jsonl.gz"
    splits = load(make("files", source=str(path), form=FormName.text, columns={"text": "chosen"}), (Text,), 0)
    assert splits.train.report.read == 2354
