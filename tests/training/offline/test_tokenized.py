import pytest

from rlpipe.core.errors import DataError
from rlpipe.datasets import forms
from rlpipe.methods.offline import Overlong
from rlpipe.training.offline.tokenized import tokenize_examples


@pytest.fixture
def tokenizer(small_model):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(small_model)


@pytest.fixture
def rows() -> list[forms.Completion]:
    def row(id: str, prompt: int, completion: int) -> forms.Completion:
        message = [{"role": "user", "content": "x" * prompt}]
        return forms.Completion(id, message, [{"role": "assistant", "content": "y" * completion}])

    return [row("short", 5, 5), row("long", 5, 100), row("long prompt", 200, 5)]


def config(make, **settings):
    return make["method"]("sft", **settings).config


def test_longer_examples_are_dropped_and_counted(make, tokenizer, rows):
    tokenized = tokenize_examples(rows, tokenizer, config(make, max_length=64))
    assert [example.id for example in tokenized.examples] == ["short"]
    assert tokenized.dropped == {"longer than max_length": 2}
    assert tokenized.report()["seen"] == 3


def test_truncation_cuts_the_end_but_never_leaves_a_bare_prompt(make, tokenizer, rows):
    tokenized = tokenize_examples(rows, tokenizer, config(make, max_length=64, overlong=Overlong.truncate))
    assert [example.id for example in tokenized.examples] == ["short", "long"]
    assert tokenized.dropped == {"whose prompt alone fills max_length": 1}
    assert tokenized.cut == 1
    assert tokenized.lengths[1] == 64


def test_conversation_cut_before_the_assistant_speaks_is_dropped(make, tokenizer):
    chat = [{"role": "user", "content": "x" * 100}, {"role": "assistant", "content": "y"}]
    ok = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y" * 100}]
    examples = [forms.Chat("a", chat), forms.Chat("b", ok)]
    tokenized = tokenize_examples(examples, tokenizer, config(make, max_length=64, overlong=Overlong.truncate))
    assert [example.id for example in tokenized.examples] == ["b"]


def test_nothing_left_is_an_error_that_says_how_long_they_are(make, tokenizer, rows):
    with pytest.raises(DataError, match=r"max_length=8: no example is left .*3 longer than max_length; the longest"):
        tokenize_examples(rows, tokenizer, config(make, max_length=8))


def test_too_few_examples_for_one_batch_is_an_error(build, tmp_path):
    with pytest.raises(DataError, match=r"batch_size=8: only 3 of 3 examples"):
        build(tmp_path, "sft", count=3)


def test_no_reference_is_computed_for_examples_beyond_the_last_step(build, tmp_path):
    trainer = build(tmp_path, "dpo", count=40, max_steps=2)
    assert len(trainer.train_dataset) == 16
    assert trainer.tokenized.dropped == {"not reached by the last step": 24}
    assert build(tmp_path, "dpo", count=40, max_steps=5).tokenized.dropped == {}
