"""Loading: what is dropped and why, what is held out, what is limited, and that it is all reported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rlpipe
from rlpipe.core.errors import DataError
from rlpipe.datasets.base import LoadReport, Split
from rlpipe.datasets.forms import Chat, Choice, Completion, Labelled, Preference, Prompt, content
from rlpipe.datasets.load import data_problems, load, summed_up

Make = Callable[..., object]
QUIET = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows(count: int, start: int = 0) -> list[dict]:
    return [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(start, start + count)]


def consistent(report: LoadReport) -> bool:
    return report.read == report.kept + sum(report.dropped.values())


def asked(split: Split) -> list[str]:
    return [example.prompt[0]["content"] for example in split.examples]


def test_splits_of_a_folder(make, write) -> None:
    write(rows(5)), write(rows(3, start=50), "test.jsonl")
    splits = load(make("files", source=str(write(rows(5)).parent), test_split="test"), (Completion,), 0)
    assert asked(splits.train) == [f"question {n}" for n in range(5)]
    assert [example.id for example in splits.test.examples] == ["test/0", "test/1", "test/2"]
    assert splits.train.report.source.endswith("train.jsonl")
    assert splits.train.report.dropped == {}


UNUSABLE = [
    ("completion", {"prompt": " ", "completion": "a"}, "empty prompt"),
    ("completion", {"prompt": "q", "completion": "\n"}, "empty completion"),
    ("completion", {"prompt": "q", "completion": None}, "nothing in column 'completion'"),
    ("completion", {"prompt": "q"}, "nothing in column 'completion'"),
    ("completion", {"prompt": "q", "completion": True}, "neither text nor a list of messages"),
    ("completion", {"prompt": "q", "completion": ["a"]}, "a message without role and content"),
    ("completion", {"prompt": "q\ud800", "completion": "a"}, "text that is not valid Unicode (half a surrogate pair)"),
    ("preference", {"prompt": "q", "chosen": "a", "rejected": "a "}, "chosen == rejected"),
    ("preference", {"prompt": "q", "chosen": "a", "rejected": ""}, "empty completion"),
    ("labelled", {"prompt": "q", "completion": "a", "label": "perhaps"}, "label is neither true nor false"),
    ("choice", {"prompt": "q", "choices": ["a"], "answer": 0}, "no wrong choice"),
    ("choice", {"prompt": "q", "choices": ["a", "b"], "answer": -1}, "no right choice (label out of range)"),
    ("choice", {"prompt": "q", "choices": ["a", "a"], "answer": 0}, "a wrong choice equals the right one"),
    ("choice", {"prompt": "q", "choices": ["a", " "], "answer": 0}, "empty choice"),
    ("chat", {"messages": [{"role": "user", "content": "q"}]}, "no assistant turn"),
    ("chat", {"messages": [{"role": "narrator", "content": "q"}]}, "a message of an unknown role"),
    ("text", {"text": " "}, "empty text"),
    ("prompt", {"prompt": ""}, "empty prompt"),
]

USABLE = {
    "completion": lambda n: {"prompt": f"q{n}", "completion": "a"},
    "preference": lambda n: {"prompt": f"q{n}", "chosen": "a", "rejected": "b"},
    "labelled": lambda n: {"prompt": f"q{n}", "completion": "a", "label": n % 2 == 0},
    "choice": lambda n: {"prompt": f"q{n}", "choices": ["a", "b"], "answer": n % 2},
    "chat": lambda n: {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}]},
    "text": lambda n: {"text": f"t{n}"},
    "prompt": lambda n: {"prompt": f"q{n}"},
}


@pytest.mark.parametrize(("form", "row", "reason"), UNUSABLE)
def test_unusable_rows_are_counted_under_their_reason(make, write, form: str, row: dict, reason: str) -> None:
    from rlpipe.datasets.shapes import FormName

    good = [USABLE[form](n) for n in range(6)]
    dataset = make("files", form=FormName(form), source=str(write([*good[:3], row, *good[3:]])))
    splits = load(dataset, (dataset.form,), 0)
    assert splits.train.report.dropped[reason] == 1
    assert len(splits.train.examples) + len(splits.test.examples) == 6
    assert consistent(splits.train.report)
    assert f"{reason}: 1" in summed_up("files", splits.train.report, splits.test.report)


def test_reasons_do_not_flood_the_report(make, write) -> None:
    class Picky(type(make("files"))):
        def example(self, row, id):
            if row["prompt"] != "question 0" and row["prompt"] != "question 1":
                raise ValueError(f"I do not like {row['prompt']}")
            return super().example(row, id)

    dataset = make("files", source=str(write(rows(60))))
    dropped = load(Picky(dataset.config), (Completion,), 0).train.report.dropped
    assert 38 <= dropped["other reasons"] <= 39
    assert len(dropped) <= 22


def test_repeated_rows_and_train_rows_of_the_test_split_are_dropped(make, write) -> None:
    write([*rows(3, start=8), *rows(1, start=8)], "test.jsonl")
    spaced = {"prompt": "question  1 ", "completion": "answer 1"}
    source = str(write([*rows(10), *rows(2), spaced]).parent)
    splits = load(make("files", source=source, test_split="test"), (Completion,), 0)
    assert splits.train.report.dropped == {"repeats an earlier row": 3, "stands in the test split too": 2}
    assert asked(splits.train) == [f"question {n}" for n in range(8)]
    assert splits.test.report.dropped == {"repeats an earlier row": 1}
    assert consistent(splits.train.report)


def test_without_deduplication_repeats_are_kept_and_still_counted(make, write) -> None:
    write(rows(2, start=1), "test.jsonl")
    source = str(write([*rows(3), *rows(1)]).parent)
    splits = load(make("files", source=source, test_split="test", deduplicate=False), (Completion,), 0)
    assert len(splits.train.examples) == 4
    assert splits.train.report.notes == [
        "2 rows kept though each stands in the test split too",
        "1 rows kept though each repeats an earlier row",
    ]


@QUIET
@given(
    numbers=st.lists(st.integers(0, 40), min_size=2, max_size=60).filter(lambda numbers: len(set(numbers)) > 1),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
    deduplicate=st.booleans(),
    train_limit=st.none() | st.integers(1, 20),
    test_limit=st.none() | st.integers(1, 20),
    watched=st.integers(1, 20),
)
def test_held_out_rows_are_never_trained_on(
    make, write, numbers, fraction, seed, deduplicate, train_limit, test_limit, watched
) -> None:
    raw = [{"prompt": f"q{n}", "completion": "a"} for n in numbers]
    limits = {"train_limit": train_limit, "test_limit": test_limit}
    settings = {"source": str(write(raw)), "test_fraction": fraction, "deduplicate": deduplicate}
    splits = load(make("files", **settings, **limits), (Completion,), seed)
    train, test = set(asked(splits.train)), set(asked(splits.test))
    assert train
    assert test
    assert not train & test
    assert consistent(splits.train.report)
    assert consistent(splits.test.report)
    assert len(splits.train.examples) <= (train_limit or len(raw))
    assert len(splits.test.examples) <= (test_limit or len(raw))
    # What is held out depends on content alone: not on seed, limits, or the order of the rows.
    everything = load(make("files", **settings, test_limit=None), (Completion,), seed + 1)
    assert test <= set(asked(everything.test))
    assert train <= set(asked(everything.train))
    _nothing_else_changes(make("files", **settings, **limits), splits, seed, watched)
    turned = load(
        make("files", **{**settings, "source": str(write(raw[::-1], "b.jsonl"))}, test_limit=None), (Completion,), 0
    )
    assert set(asked(turned.test)) == set(asked(everything.test))


def _nothing_else_changes(dataset, splits, seed: int, watched: int) -> None:
    """Setting rows aside for validation leaves training as it is, and takes from the test no more than half."""
    try:
        found, why = load(dataset, (Completion,), seed, validation=watched), ""
    except DataError as error:
        found, why = None, str(error)
    if found is None:
        assert "no held-out row is left to watch" in why
        held_out = len(splits.test.examples) + splits.test.report.dropped.get("beyond test_limit", 0)
        assert held_out == 1 or not dataset.config.deduplicate
        return
    assert asked(found.train) == asked(splits.train)
    held_out, chosen = asked(found.test), asked(found.validation)
    assert consistent(found.test.report)
    assert consistent(found.validation.report)
    assert held_out == asked(splits.test)[: len(held_out)]
    assert 1 <= len(chosen) <= watched
    assert not set(chosen) & set(held_out)
    assert len(held_out) == len(splits.test.examples) or len(held_out) >= len(chosen)


def test_rows_beyond_the_limit_are_watched_first(make, write) -> None:
    write(rows(20, start=100), "test.jsonl")
    dataset = make("files", source=str(write(rows(50)).parent), test_split="test", test_limit=4)
    splits = load(dataset, (Completion,), 0, validation=6)
    assert asked(splits.test) == [f"question {n}" for n in range(100, 104)]
    assert asked(splits.validation) == [f"question {n}" for n in range(104, 110)]
    assert splits.test.report.dropped == {"beyond test_limit": 10, "set aside for validation": 6}
    few = load(dataset, (Completion,), 0, validation=18)
    assert [len(few.test.examples), len(few.validation.examples)] == [4, 16]
    assert few.test.report.notes == []
    half = load(make("files", source=dataset.config.source, test_split="test"), (Completion,), 0, validation=18)
    assert [len(half.test.examples), len(half.validation.examples)] == [10, 10]
    assert "10 rows fewer than without watching" in summed_up("files", half.train.report, half.test.report)


def test_sample_rows_have_rows_of_their_own_for_validation(make) -> None:
    dataset = make("smoltalk", sample_size=40)
    plain, watched = load(dataset, (Chat,), 0), load(dataset, (Chat,), 0, validation=7)
    assert watched.test.examples == plain.test.examples
    assert watched.train.examples == plain.train.examples
    assert len(watched.validation.examples) == 7


def test_the_held_out_share_is_about_right(make, write) -> None:
    splits = load(make("files", source=str(write(rows(2000))), test_fraction=0.1, test_limit=None), (Completion,), 0)
    assert 150 < len(splits.test.examples) < 250
    assert "there is no test split" in summed_up("files", splits.train.report, splits.test.report)
    assert splits.train.report.dropped == {"held out for testing": len(splits.test.examples)}


def test_train_limit_shuffles_by_seed_and_test_limit_takes_the_first(make, write) -> None:
    write(rows(20, start=100), "test.jsonl")
    dataset = make("files", source=str(write(rows(50)).parent), test_split="test", train_limit=10, test_limit=4)
    first, again, other = (load(dataset, (Completion,), seed) for seed in (0, 0, 1))
    assert asked(first.train) == asked(again.train) != asked(other.train)
    assert len(set(asked(first.train))) == len(set(asked(other.train))) == 10
    assert asked(first.test) == asked(other.test) == [f"question {n}" for n in range(100, 104)]
    assert first.test.report.dropped == {"beyond test_limit": 16}
    assert "10 of 50 rows" in summed_up("files", first.train.report, first.test.report)


def test_a_limit_that_does_not_bind_changes_nothing(make, write) -> None:
    source = str(write(rows(30)))
    free = load(make("files", source=source), (Completion,), 0)
    loose = load(make("files", source=source, train_limit=30), (Completion,), 7)
    assert free.train.examples == loose.train.examples


def test_every_form_sees_the_same_rows(make, write) -> None:
    pairs = [{"prompt": f"q{n}", "chosen": "a", "rejected": "b"} for n in range(40)]
    dataset = make("ultrafeedback", source=str(write(pairs)), train_limit=10, test_split=None, test_limit=2)
    as_pairs, as_labelled = load(dataset, (Preference,), 3), load(dataset, (Labelled,), 3)
    assert [example.id for example in as_pairs.train.examples for _ in range(2)] == [
        example.id.rpartition(".")[0] for example in as_labelled.train.examples
    ]
    assert as_labelled.train.report.converted == ["preference", "labelled"]
    assert as_pairs.train.report.identity == as_labelled.train.report.identity
    assert as_labelled.train.native == as_pairs.train.examples


def test_identity_is_the_content(make, write) -> None:
    def identity(raw: list[dict]) -> str:
        return load(make("files", source=str(write(raw))), (Completion,), 0).train.report.identity

    base = rows(30)
    assert identity(base) == identity([{**row, "unused": 1} for row in base])
    changed = [{**row, "completion": row["completion"] + "!"} for row in base]
    assert identity(base) != identity(changed)
    assert identity(base) != identity(base[::-1])


def test_one_row_cannot_be_held_out(make, write) -> None:
    path = write(rows(1))
    with pytest.raises(DataError, match=rf"{path.name}: 1 usable row among 1: nothing can be held out") as caught:
        load(make("files", source=str(path)), (Completion,), 0)
    assert "at least 2 different rows" in str(caught.value)


def test_repeats_of_one_row_cannot_be_held_out_either(make, write) -> None:
    with pytest.raises(DataError, match=r"1 usable row among 3 \(repeats an earlier row: 2\)"):
        load(make("files", source=str(write(rows(1) * 3))), (Completion,), 0)


def test_no_usable_row_says_why(make, write) -> None:
    write(rows(2), "test.jsonl")
    source = str(write([{"prompt": "q", "completion": ""}] * 3).parent)
    with pytest.raises(DataError, match=r"no usable row is left of the 3 of split 'train' \(empty completion: 3\)"):
        load(make("files", source=source, test_split="test"), (Completion,), 0)


def test_missing_columns_are_named_with_those_present_and_a_guess(make, write) -> None:
    path = write([{"promt": "q", "completion": "a"}] * 3)
    with pytest.raises(
        DataError, match=r"train\.jsonl: files needs the column 'prompt'.*\n.*did you mean 'promt'"
    ) as caught:
        load(make("files", source=str(path)), (Completion,), 0)
    assert "+dataset.columns.prompt=NAME" in str(caught.value)
    [problem] = data_problems(make("files", source=str(path)))
    assert str(problem) == str(caught.value)


def test_columns_can_be_called_otherwise(make, write) -> None:
    path = write([{"q": f"q{n}", "a": "a"} for n in range(5)])
    splits = load(make("files", source=str(path), columns={"prompt": "q", "completion": "a"}), (Chat,), 0)
    assert splits.train.examples[0].messages[1] == {"role": "assistant", "content": "a"}
    with pytest.raises(DataError, match=r"dataset\.columns\.prompt: there is no column 'qq'"):
        load(make("files", source=str(path), columns={"prompt": "qq", "completion": "a"}), (Chat,), 0)


def test_a_form_that_does_not_fit(make) -> None:
    with pytest.raises(DataError, match="countdown gives prompt examples, which cannot become preference"):
        load(make("countdown"), (Preference,), 0)


def test_rewards_read_the_columns_of_converted_prompts(make, write) -> None:
    path = write([{"question": f"q{n}", "answer": f"n is 1,{n:03}\n#### 1,{n:03}"} for n in range(5)])
    example = load(make("gsm8k", source=str(path)), (Prompt,), 0).train.examples[0]
    number = example.prompt[0]["content"][1:]
    assert example.columns == {
        "question": f"q{number}",
        "answer": f"100{number}",
        "reference": f"n is 1,00{number}\n#### 1,00{number}",
        "steps": 1,
    }


def test_problems_of_settings_are_all_listed(make) -> None:
    assert [problem.where for problem in data_problems(make("files", source="/no/such/place"))] == ["dataset.source"]
    assert [problem.where for problem in data_problems(make("files"))] == ["dataset.source"]
    assert [problem.where for problem in data_problems(make("files", source="hub"))] == ["dataset.hub"]
    assert data_problems(make("piqa")) == data_problems(make("piqa", source="hub")) == []


def test_problems_of_files_are_found_without_reading_them_whole(make, write, tmp_path: Path) -> None:
    path = write(rows(300))
    path.write_text(path.read_text() + "broken\n")
    assert data_problems(make("files", source=str(path))) == []
    (tmp_path / "test.jsonl").write_text("")
    [problem] = data_problems(make("files", source=str(tmp_path), test_split="test"))
    assert (problem.where, problem.what) == (str(tmp_path / "test.jsonl"), "the file holds no rows")


def test_checking_imports_nothing_heavy(tmp_path: Path) -> None:
    """Sample and local rows need neither torch nor `datasets`; even loading them does not."""
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(5)))
    code = f"""
import sys
from rlpipe.config import plugins
from rlpipe.datasets.forms import Completion
from rlpipe.datasets.load import data_problems, load
for name in ("smoltalk", "ultrafeedback", "warmstart", "countdown", "gsm8k", "piqa", "mixture"):
    cls = plugins.load("dataset", name)
    dataset = cls(cls.Config(name=name, source="sample", sample_size=40))
    assert not data_problems(dataset)
    load(dataset, (dataset.form,), 0)
cls = plugins.load("dataset", "files")
dataset = cls(cls.Config(name="files", source={str(tmp_path / "train.jsonl")!r}))
assert not data_problems(dataset)
load(dataset, (Completion,), 0)
print([name for name in ("torch", "transformers", "trl", "datasets", "pyarrow", "peft") if name in sys.modules])
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(rlpipe.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.slow
def test_sixty_thousand_rows_load_in_seconds(make, write) -> None:
    import time

    text = "word " * 300
    raw = [{"prompt": f"{n}", "chosen": text + str(n), "rejected": text} for n in range(60_000)]
    path = write(raw)
    start = time.process_time()
    splits = load(make("ultrafeedback", source=str(path), test_split=None), (Preference,), 0)
    assert time.process_time() - start < 15
    assert splits.train.report.kept > 55_000


def test_choices_reach_the_evaluation_unchanged(make, write) -> None:
    path = write([{"goal": f"g{n}", "sol1": "a", "sol2": "b", "label": n % 2} for n in range(6)])
    splits = load(make("piqa", source=str(path)), (Choice,), 0)
    assert {content(example) for example in splits.train.examples + splits.test.examples} == {
        content(Choice("", [{"role": "user", "content": f"g{n}"}], ["a", "b"], n % 2)) for n in range(6)
    }
