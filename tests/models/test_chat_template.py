from __future__ import annotations

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlpipe.config.kinds import Head
from rlpipe.core.errors import ModelError
from rlpipe.models.chat_template import built_in, end_of_turn

CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
TOOL = {"type": "function", "function": {"name": "add", "description": "Add.", "parameters": {}}}
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "1 + 2?"},
    {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL, CALL]},
    {"role": "tool", "content": "3"},
    {"role": "tool", "content": "3"},
    {"role": "assistant", "content": "3"},
]


@pytest.fixture(scope="module")
def tokenizer(small):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(small)


def written(tokenizer, messages, **arguments) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, **arguments)


def test_what_chatml_looks_like(tokenizer):
    assert written(tokenizer, CHAT) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n1 + 2?<|im_end|>\n"
        "<|im_start|>assistant\nLet me see.\n"
        '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>\n'
        '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n3\n</tool_response><|im_end|>\n"
        "<|im_start|>user\n<tool_response>\n3\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n3<|im_end|>"
    )


def test_tools_are_declared_once_with_the_system_message(tokenizer):
    text = written(tokenizer, CHAT, tools=[TOOL])
    assert text.count("<|im_start|>system\n") == 1
    assert text.startswith("<|im_start|>system\nBe brief.\n\nYou may call")
    assert f"<tools>\n{json.dumps(TOOL)}\n</tools>" in text
    assert text.endswith(written(tokenizer, CHAT).split("<|im_end|>", 1)[1])
    assert written(tokenizer, CHAT[1:2], tools=[TOOL]).endswith(
        "</tool_call><|im_end|>\n<|im_start|>user\n1 + 2?<|im_end|>"
    )


def test_a_call_alone_stands_where_the_generation_prompt_ends(tokenizer):
    call = [*CHAT[:2], {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    prompt = written(tokenizer, CHAT[:2], add_generation_prompt=True)
    assert written(tokenizer, call).startswith(prompt + "<tool_call>\n")


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    contents=st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20), min_size=2, max_size=6)
)
def test_later_messages_never_change_earlier_tokens(tokenizer, contents):
    """What was sampled and scored turn by turn must be what training sees."""
    messages = [
        {"role": ("user", "assistant", "tool")[number % 3], "content": content}
        for number, content in enumerate(contents)
    ]
    whole = tokenizer.apply_chat_template(messages, return_dict=False)
    for end in range(1, len(messages)):
        part = tokenizer.apply_chat_template(messages[:end], return_dict=False)
        assert whole[: len(part)] == part
        if messages[end]["role"] == "assistant":
            prompt = tokenizer.apply_chat_template(messages[:end], return_dict=False, add_generation_prompt=True)
            text = tokenizer.decode(whole)
            assert text.startswith(tokenizer.decode(prompt))


def test_the_generation_mask_is_what_the_model_writes(tokenizer):
    done = tokenizer.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    spans, span = [], []
    for token, ours in zip([*done["input_ids"], 0], [*done["assistant_masks"], 0], strict=True):
        if ours:
            span.append(token)
        elif span:
            spans.append(tokenizer.decode(span))
            span = []
    assert len(spans) == 2
    assert spans[0].startswith("Let me see.\n<tool_call>")
    assert spans[0].endswith("</tool_call><|im_end|>")
    assert spans[1] == "3<|im_end|>"


def test_plain_text_has_no_roles_and_grows_turn_by_turn(tokenizer):
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = built_in("plain")
    chat = [*CHAT[:2], CHAT[-1], {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]
    assert written(tokenizer, chat) == "Be brief.\n1 + 2? 3<|im_end|>\n2 + 2? 4<|im_end|>"
    for end in range(1, len(chat)):
        assert written(tokenizer, chat).startswith(written(tokenizer, chat[:end], add_generation_prompt=True))
    done = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    spoken = [id for id, ours in zip(done["input_ids"], done["assistant_masks"], strict=True) if ours]
    assert tokenizer.decode(spoken) == " 3<|im_end|> 4<|im_end|>"


def test_trl_takes_it_for_training_and_tools(tokenizer):
    from trl.chat_template_utils import get_training_chat_template, supports_tool_calling

    assert get_training_chat_template(tokenizer) is None
    assert supports_tool_calling(tokenizer)


def test_base_model_gets_chatml_on_purpose(stories, load):
    loaded = load(stories)
    told = "\n".join(loaded.notes)
    assert "chat template: chatml (the tokenizer has none), starting with <s>" in told
    assert "tokens added: <|im_start|>, <|im_end|>" in told
    assert "pad token: <unk>, from the vocabulary" in told
    assert "512 → 514 rows" in told
    assert loaded.tokenizer.eos_token == "<|im_end|>"
    assert loaded.model.config.eos_token_id == 513 == loaded.tokenizer.eos_token_id
    assert loaded.model.generation_config.eos_token_id == [513, 2]
    assert loaded.model.config.pad_token_id == loaded.model.generation_config.pad_token_id == 0
    ids = loaded.tokenizer.apply_chat_template(CHAT[1:2], return_dict=False)
    assert ids[0] == loaded.tokenizer.bos_token_id
    assert ids.count(loaded.tokenizer.bos_token_id) == 1


def test_new_rows_are_the_mean_and_old_ones_stay(stories, load):
    import torch
    from transformers import AutoModelForCausalLM

    before = AutoModelForCausalLM.from_pretrained(stories, dtype=torch.float32).get_input_embeddings().weight
    loaded = load(stories)
    after = loaded.model.get_input_embeddings().weight
    assert loaded.model.config.vocab_size == 514
    assert torch.equal(after[:512], before)
    for row in (512, 513):
        assert torch.allclose(after[row], before.mean(dim=0))
    assert loaded.model.get_output_embeddings().weight is after


def test_the_resized_model_is_the_reference(stories, load, tmp_path):
    """A trainer that reloads the reference must find rows for the new tokens."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = load(stories)
    assert loaded.path == str(tmp_path / "start")
    again = AutoModelForCausalLM.from_pretrained(loaded.path)
    ids = torch.tensor([[1, 512, 300, 513]])
    assert torch.equal(again(ids).logits, loaded.model(ids).logits)
    assert AutoTokenizer.from_pretrained(loaded.path).chat_template == loaded.tokenizer.chat_template


def test_preparing_twice_changes_nothing(stories, load):
    first = load(stories)
    again = load(first.path)
    assert again.notes == []
    assert again.tokenizer.get_vocab() == first.tokenizer.get_vocab()
    assert load(first.path, chat_template="chatml").notes == []


def test_untied_output_rows_are_means_too(copied, load):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(copied)
    config = model.config
    config.tie_word_embeddings = False
    config.vocab_size = 8
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(copied)
    (copied / "chat_template.jinja").unlink()
    words = {"type": "WordLevel", "vocab": {f"w{i}": i for i in range(8)}, "unk_token": "w0"}
    (copied / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": words}))
    (copied / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    assert AutoTokenizer.from_pretrained(copied).pad_token is None
    loaded = load(copied)
    out = loaded.model.get_output_embeddings().weight
    assert out is not loaded.model.get_input_embeddings().weight
    assert out.shape[0] == 11  # <|im_start|>, <|im_end|>, <|pad|>
    assert torch.allclose(out[8:], out[:8].mean(dim=0).expand(3, -1))
    assert "pad token: <|pad|>, added" in loaded.notes


@pytest.mark.slow
def test_qwen_keeps_its_template_and_its_padded_rows(qwen, load):
    loaded = load(qwen)
    assert loaded.path == str(qwen)
    assert loaded.model.get_input_embeddings().weight.shape[0] == 151_936
    assert "Alibaba" in loaded.tokenizer.chat_template
    assert (loaded.tokenizer.eos_token, loaded.tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert loaded.model.config.eos_token_id == 151_645
    assert loaded.model.generation_config.eos_token_id == [151_645, 151_643]


@pytest.mark.slow
def test_qwen_takes_chatml_without_new_tokens(qwen, load):
    loaded = load(qwen, chat_template="chatml")
    assert loaded.notes == ["chat template: chatml"]
    assert loaded.tokenizer.chat_template == built_in()


def test_a_pad_token_that_ends_turns_is_replaced(copied, load):
    """As in many published chat models: padding by the stop token hides the stop."""
    config = json.loads((copied / "tokenizer_config.json").read_text())
    (copied / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": "<|im_end|>"}))
    loaded = load(copied)
    assert loaded.tokenizer.pad_token == "<|endoftext|>"
    assert loaded.notes == ["pad token: <|endoftext|>, from the vocabulary (it was <|im_end|>, which ends a turn)"]


def test_reward_head_is_prepared_alike(stories, load):
    loaded = load(stories, head=Head.reward)
    assert loaded.model.get_input_embeddings().weight.shape[0] == 514
    assert loaded.model.config.pad_token_id == 0


def test_template_from_a_file(small, load, tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text("{% for m in messages %}{{ m.role + ': ' + m.content }}{{ eos_token }}{% endfor %}")
    loaded = load(small, chat_template=str(file))
    assert written(loaded.tokenizer, CHAT[:1]) == "system: Be brief.<|im_end|>"
    assert f"chat template: {file}" in loaded.notes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "no such file"),
        (b"\xff", "not UTF-8"),
        (b"{% for %}", "cannot write a user and an assistant turn"),
        (b"{{ raise_exception('no') }}", "cannot write a user and an assistant turn"),
        (b"{{ messages[0].content }}", "leaves out what the assistant says"),
    ],
)
def test_bad_template_file(small, load, tmp_path, text, told):
    file = tmp_path / "bad.jinja"
    if text is not None:
        file.write_bytes(text)
    with pytest.raises(ModelError, match=told) as caught:
        load(small, chat_template=str(file))
    assert str(file) in str(caught.value)


def test_template_without_end_of_turn_is_noted(small, load, tmp_path):
    file = tmp_path / "plain.jinja"
    file.write_text("{% for m in messages %}{{ m.content }}\n{% endfor %}")
    loaded = load(small, chat_template=str(file))
    assert any("cannot learn where to stop" in note for note in loaded.notes)
    assert end_of_turn(loaded.tokenizer, "here") is None
