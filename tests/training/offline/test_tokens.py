import pytest

from rlpipe.core.errors import DataError, ModelError
from rlpipe.datasets import forms
from rlpipe.models.tokens import tokenize
from tests.training.offline.conftest import columns_of

UNMARKED = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture
def tokenizer(small_model):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(small_model)


def spoken(tokens, tokenizer) -> str:
    return tokenizer.decode([id for id, bit in zip(tokens.answers[0], tokens.spoken, strict=True) if bit])


def test_completion_begins_behind_the_assistants_header(make, tokenizer):
    example = forms.Completion("a", [{"role": "user", "content": "hi"}], [{"role": "assistant", "content": "yes"}])
    (tokens,) = tokenize([example], tokenizer)
    assert tokenizer.decode(tokens.prompt) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(tokens.answers[0]) == "yes<|im_end|>\n"


def test_assistants_turns_are_found_with_and_without_markers(make, tokenizer):
    (example,) = make["examples"](forms.Chat, 1)
    said = [message["content"] for message in example.messages if message["role"] == "assistant"]
    assert spoken(tokenize([example], tokenizer)[0], tokenizer) == "".join(f"{text}<|im_end|>" for text in said)
    tokenizer.chat_template = UNMARKED
    assert spoken(tokenize([example], tokenizer)[0], tokenizer) == "".join(f"{text}<|im_end|>\n" for text in said)


def test_template_that_shows_turns_differently_later_is_refused(make, tokenizer):
    tokenizer.chat_template = UNMARKED.replace("m['content']", "(m['content'] if loop.last else 'gone')")
    with pytest.raises(ModelError, match=r"(?s)turn 1 .*generation"):
        tokenize(make["examples"](forms.Chat, 2), tokenizer)


def test_text_ends_with_the_end_of_sequence_token(tokenizer):
    (tokens,) = tokenize([forms.Text("a", "abc")], tokenizer)
    assert tokenizer.decode(tokens.answers[0]) == "abc<|im_end|>"


def test_prompts_alone_cannot_be_trained_on(tokenizer):
    with pytest.raises(DataError, match="Prompt"):
        tokenize([forms.Prompt("a", [{"role": "user", "content": "hi"}])], tokenizer)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("sft", {"input_ids", "labels"}),
        ("reward_model", {"chosen_ids", "rejected_ids"}),
        ("dpo", {"prompt_ids", "chosen_ids", "rejected_ids"}),
        ("kto", {"prompt_ids", "completion_ids", "KL_completion_ids", "label"}),
    ],
)
def test_tokens_equal_those_of_trls_own_preparation(make, build, tokenizer, tmp_path, name, columns):
    from datasets import Dataset

    trainer = build(tmp_path, name)
    base = type(trainer).__mro__[2]
    rows = Dataset.from_list([columns_of(example) for example in trainer.tokenized.examples])
    trainer.args.assistant_only_loss = True
    extra = (False, None) if name == "sft" else ()
    theirs = base._prepare_dataset(trainer, rows, tokenizer, trainer.args, *extra, "train")
    for column in columns:
        assert list(trainer.train_dataset[column]) == list(theirs[column]), column
