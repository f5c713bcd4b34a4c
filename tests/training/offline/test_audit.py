"""The audit finds what was planted, and nothing where nothing is wrong."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest

from rlpipe.datasets import forms
from rlpipe.datasets.base import LoadReport
from rlpipe.models.base import Loaded
from rlpipe.training.offline.audit import audit
from tests.conftest import CHATML

METHODS = ("sft", "reward_model", "dpo", "kto", "orpo", "simpo")


def audited(trainer, **changes):
    loaded = Loaded(trainer.model, trainer.processing_class, "")
    return audit(trainer, loaded, trainer.method, **changes)


@pytest.mark.parametrize("name", METHODS)
def test_nothing_is_found_where_nothing_is_wrong(build, tmp_path, name):
    found = audited(build(tmp_path, name))
    assert (found.errors, found.warnings) == ([], [])
    assert found.rows == 24
    assert found.stop_share == (None if name == "reward_model" else 1.0)
    assert 0.2 < found.trained_share < 0.9 or name == "reward_model"
    assert json.loads(json.dumps(found.to_dict()))["data"]["kept"] == 24


def test_trained_tokens_are_the_assistants(build, tmp_path):
    trainer = build(tmp_path, "sft", forms.Completion)
    shown = audited(trainer).shown[0]
    trained = "".join(token["text"] for token in shown["tokens"] if token["trained"])
    assert trained == trainer.tokenized.examples[0].completion[0]["content"] + "<|im_end|>\n"
    assert [token["stop"] for token in shown["tokens"] if token["trained"]][-2:] == [True, False]


def test_template_whose_end_of_turn_is_not_trained(build, small_model, tmp_path):
    template = (small_model / "chat_template.jinja").read_text()
    outside = template.replace(
        "{{ message['content'] + '<|im_end|>' }}{% endgeneration %}",
        "{{ message['content'] }}{% endgeneration %}{{ '<|im_end|>' }}",
    )
    assert outside != template
    found = audited(build(tmp_path, "sft", template=outside))
    assert [error.where for error in found.errors] == ["audit.stop"]
    assert "<|im_end|>" in found.errors[0].what


def test_rows_without_a_trained_token(build, tmp_path):
    trainer = build(tmp_path, "sft")
    masked = [-100] * 5
    trainer.train_dataset = [{"input_ids": list(range(5)), "labels": masked} for _ in range(24)]
    found = audited(trainer)
    assert [error.where for error in found.errors] == ["audit.untrained"]
    assert "24 of 24" in found.errors[0].what


@pytest.mark.parametrize("form", [forms.Chat, forms.Completion])
def test_trained_prompt_tokens(build, tmp_path, form):
    trainer = build(tmp_path, "sft", form)
    rows = [dict(row) for row in trainer.train_dataset]
    rows[7]["labels"] = list(rows[7]["input_ids"])
    trainer.train_dataset = rows
    found = audited(trainer)
    assert [error.where for error in found.errors] == ["audit.leaking"]
    assert found.leaking == 1
    assert "train/7" in found.errors[0].what


def test_prompt_leaking_into_a_pair(build, tmp_path):
    trainer = build(tmp_path, "dpo")
    rows = [dict(row) for row in trainer.train_dataset]
    for row in rows:
        row["chosen_ids"], row["rejected_ids"] = (
            row["prompt_ids"][-1:] + row[part] for part in ("chosen_ids", "rejected_ids")
        )
        row["prompt_ids"] = row["prompt_ids"][:-1]
    trainer.train_dataset = rows
    assert audited(trainer).leaking == 48


def test_conversation_training_may_train_the_prompt(build, tmp_path):
    from rlpipe.methods.sft import TrainOn

    found = audited(build(tmp_path, "sft", train_on=TrainOn.conversation))
    assert found.errors == []
    assert found.trained_share == 1.0


def test_every_completion_cut(build, tmp_path):
    from rlpipe.methods.offline import Overlong

    trainer = build(tmp_path, "sft", forms.Completion, max_length=45, overlong=Overlong.truncate, batch_size=4)
    found = audited(trainer)
    assert found.data["cut"] > 0
    assert found.stop_share < 1
    assert [problem.where for problem in (*found.errors, *found.warnings)] == ["audit.stop"]


def test_rows_of_an_epochs_last_batch_are_counted(build, tmp_path):
    found = audited(build(tmp_path, "sft", forms.Completion, count=20))
    assert found.data["last_batch"] == {"rows": 4, "of": 8, "left_out": 0, "same": False}
    assert "the last batch of an epoch has 4 rows of 8" in found.lines()


@pytest.mark.parametrize(("count", "rows"), [(17, 0), (21, 4)])
def test_a_row_of_kto_that_would_be_alone_in_a_micro_batch_is_left_out(build, tmp_path, count, rows):
    trainer = build(tmp_path, "kto", count=count, micro_batch_size=2)
    found = audited(trainer)
    assert found.data["last_batch"] == {"rows": rows, "of": 8, "left_out": 1, "same": True}
    assert "1 rows of an epoch fill no micro-batch and are left out, always the same ones" in found.lines()[-1]
    assert len(trainer.train_dataset) == count


def test_counts_add_up_to_the_rows_read(build, tmp_path):
    trainer = build(tmp_path, "sft", forms.Completion)
    trainer.tokenized.rows = LoadReport("train", "here", "", read=30, kept=24, dropped={"empty prompt": 6})
    found = audited(trainer)
    rows, counted = found.data["rows"], found.data
    assert rows["read"] == rows["kept"] + sum(rows["dropped"].values())
    assert counted["seen"] == counted["kept"] + sum(counted["dropped"].values())
    assert "24 of 30 rows read are used; left out: 6 empty prompt" in found.lines()


def test_turns_that_are_trained_are_counted(build, tmp_path):
    found = audited(build(tmp_path, "sft", forms.Chat))
    assert found.turns == {"all": 48, "trained": 48, "calls": 0, "changed": 0}
    assert "48 of 48 turns of the assistant are trained" in found.lines()
    cut = "{{ message['content'] if loop.last else 'gone' }}"
    silent = audited(
        build(tmp_path / "b", "sft", forms.Chat, template=CHATML.replace("{{ message['content'] + ", f"{cut}{{{{ "))
    )
    assert silent.turns["changed"] == 24
    assert "of 24 the chat template leaves something out" in silent.lines()[1]


def test_tools_that_the_template_does_not_show(build, tmp_path):
    trainer = build(tmp_path, "sft", forms.Chat)
    tool = {"type": "function", "function": {"name": "calc"}}
    trainer.tokenized.examples = [dataclasses.replace(one, tools=[tool]) for one in trainer.tokenized.examples]
    (warning,) = audited(trainer).warnings
    assert warning.what == "24 of 24 rows offer tools that the chat template does not show (train/0)"


@pytest.mark.parametrize("name", ["dpo", "kto", "reward_model"])
def test_answers_in_which_tools_speak(build, tmp_path, name):
    trainer = build(tmp_path, name)
    field = "completion" if name == "kto" else "rejected"
    first = trainer.tokenized.examples[0]
    tool = [{"role": "assistant", "content": "?"}, {"role": "tool", "content": "4"}]
    trainer.tokenized.examples[0] = dataclasses.replace(first, **{field: tool + getattr(first, field)})
    told = [one.what for one in audited(trainer).warnings if one.where == "audit.answers"]
    said = f"1 of 24 rows have answers in which tools or users speak ({first.id})"
    assert told == ([] if name == "reward_model" else [said])


def test_begin_of_text_twice(build, tmp_path):
    trainer = build(tmp_path, "sft")
    trainer.processing_class.bos_token = "<|im_start|>"
    bos = trainer.processing_class.bos_token_id
    trainer.train_dataset = [
        {"input_ids": [bos, *row["input_ids"]], "labels": [-100, *row["labels"]]} for row in trainer.train_dataset
    ]
    assert [warning.where for warning in audited(trainer).warnings] == ["audit.bos"]


def test_orpo_trains_the_chosen_prompt_and_says_so(build, tmp_path):
    shown = audited(build(tmp_path, "orpo")).shown
    assert all(token["trained"] for token in shown[0]["tokens"])
    assert not all(token["trained"] for token in shown[1]["tokens"])


def test_packed_rows(build, tmp_path):
    from rlpipe.methods.sft import Packing

    trainer = build(tmp_path, "sft", packing=Packing.bfd, batch_size=2, micro_batch_size=1)
    found = audited(trainer)
    assert found.errors == []
    assert found.rows == len(trainer.train_dataset) < 24
    assert sum(map(len, trainer.train_dataset["input_ids"])) == sum(
        trainer.tokenized.lengths
    )  # none is lost in packing
    assert found.data.get("last_batch", {"rows": 0})["rows"] == found.rows % 2


def test_report_shows_text_and_colour(build, tmp_path):
    from rich.console import Console

    found = audited(build(tmp_path, "sft", forms.Completion))
    console = Console(record=True, width=200, file=io.StringIO(), force_terminal=True)
    console.print(found)
    assert "stop token trained in 100%" in console.export_text(clear=False)
    assert "\x1b[32m" in console.export_text(styles=True)
