"""Rewards that cannot score a dataset's prompts, or whose settings make no sense, are found before anything starts."""

from __future__ import annotations

import json

import pytest

from rlpipe.config import plugins
from rlpipe.datasets.forms import Prompt
from rlpipe.methods.base import Method
from rlpipe.run.check.rewards import columns, curriculum, prompt_columns, settings
from rlpipe.run.check.subject import Subject
from tests.composed import compose


class OnPolicy(Method):
    """A method that learns from rewards."""

    takes = (Prompt,)
    takes_reward = True


@pytest.fixture
def subject(monkeypatch):
    def make(*overrides):
        made = Subject(compose("model=blank", *overrides), overrides)
        monkeypatch.setitem(vars(made), "method", OnPolicy(made.config.method))
        return made

    return make


@pytest.mark.parametrize(
    ("dataset", "given"),
    [
        ("countdown", {"nums", "target"}),
        ("gsm8k", {"question", "answer", "reference"}),
        ("ultrafeedback", {"reference"}),
        ("piqa", {"reference"}),
        ("smoltalk", {"reference"}),
    ],
)
def test_columns_are_read_off_a_row(dataset, given):
    made = plugins.make("dataset", compose("model=blank", f"dataset={dataset}").dataset)
    assert prompt_columns(made) >= given
    made.config.source = "hub"
    assert prompt_columns(made) >= given, "a sample row has the hub's columns"


def test_columns_of_a_local_file_are_read_off_its_first_row(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "Why?", "reference": "So.", "level": 3}) + "\n")
    made = plugins.make("dataset", compose("dataset=files", f"dataset.source={file}", "dataset.form=prompt").dataset)
    assert prompt_columns(made) == {"reference", "level"}
    missing = plugins.make("dataset", compose("dataset=files", f"dataset.source={tmp_path / 'none'}").dataset)
    assert prompt_columns(missing) is None


def test_a_column_that_the_dataset_lacks(subject):
    [problem] = columns(subject("dataset=gsm8k", "reward=[countdown,gsm8k]"))
    assert problem.where == "reward.countdown"
    assert problem.what == "countdown reads nums, target, which prompts of gsm8k lack"
    assert problem.fix.endswith("known: answer, question, reference, steps")
    assert not list(columns(subject("dataset=countdown", "reward=[countdown,format,length]")))
    assert not list(columns(subject("dataset=gsm8k", "reward=gsm8k")))


def test_settings_are_named_by_their_dotted_path(subject, monkeypatch):
    monkeypatch.delenv("NVIDIA_API_KEY", raising=False)
    found = list(settings(subject("reward=[format,nemotron]", "reward.format.tags=[]")))
    assert [one.where for one in found] == ["reward.format.tags", "reward.nemotron.key_env"]
    monkeypatch.setenv("NVIDIA_API_KEY", "x")
    [problem] = settings(subject("reward=[length,nemotron]", "reward.length.weight=0", "reward.nemotron.weight=0"))
    assert (problem.where, problem.what) == ("reward", "every weight is 0, so nothing can be learnt")


def test_a_curriculum_sorts_by_a_column_that_prompts_have(subject):
    assert not list(curriculum(subject("method=grpo", "dataset=gsm8k", "reward=gsm8k", "method.curriculum=steps")))
    (problem,) = curriculum(subject("method=grpo", "dataset=gsm8k", "reward=gsm8k", "method.curriculum=step"))
    assert problem.where == "method.curriculum"
    assert "did you mean 'steps'" in problem.fix
