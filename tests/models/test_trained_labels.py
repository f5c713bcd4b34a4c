"""Through TRL: the end-of-turn token is trained, the prompt is not, and generation stops there."""

from __future__ import annotations

import shutil

import pytest

pytestmark = pytest.mark.slow

MESSAGES = [
    {"role": "user", "content": "How much is 1 + 2?"},
    {"role": "assistant", "content": "It is 3."},
    {"role": "user", "content": "Thanks."},
    {"role": "assistant", "content": "Bye."},
]
CHAT = {"messages": MESSAGES}
COMPLETION = {"prompt": MESSAGES[:1], "completion": MESSAGES[1:2]}


@pytest.fixture(params=["blank", "stories", "qwen", "qwen-chatml"])
def loaded(request, make, load):
    if request.param == "blank":
        return make()
    if request.param == "qwen-chatml":
        return load(request.getfixturevalue("qwen"), chat_template="chatml")
    return load(request.getfixturevalue(request.param))


def trainer(loaded, rows, tmp_path, **arguments):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    args = SFTConfig(
        str(tmp_path / "run"),
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=2,
        gradient_checkpointing=False,
        save_strategy="no",
        disable_tqdm=True,
        **({"max_steps": 1} | arguments),
    )
    return SFTTrainer(
        loaded.model,
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=loaded.tokenizer,
        peft_config=loaded.peft,
    )


def trained_text(loaded, row) -> str:
    return loaded.tokenizer.decode([label for label in row["labels"] if label != -100])


def test_assistant_turns_are_trained_with_their_end(loaded, tmp_path):
    done = trainer(loaded, [CHAT], tmp_path, assistant_only_loss=True)
    text = trained_text(loaded, done.train_dataset[0])
    turns = [turn.strip() for turn in text.split(loaded.tokenizer.eos_token)]
    assert turns == ["It is 3.", "Bye.", ""]


def test_completion_is_trained_with_its_end(loaded, tmp_path):
    done = trainer(loaded, [COMPLETION], tmp_path)
    assert trained_text(loaded, done.train_dataset[0]).strip() == "It is 3." + loaded.tokenizer.eos_token


def test_padding_is_not_trained_but_the_end_is(loaded, tmp_path):
    done = trainer(loaded, [COMPLETION, CHAT | COMPLETION], tmp_path)
    short, long = dict(done.train_dataset[0]), dict(done.train_dataset[0])
    long = {key: value + value for key, value in long.items() if isinstance(value, list)}
    batch = done.data_collator([{key: short[key] for key in long}, long])
    ids, labels = batch["input_ids"][0], batch["labels"][0]
    length = len(short["input_ids"])
    assert (ids[length:] == loaded.tokenizer.pad_token_id).all()
    assert (labels[length:] == -100).all()
    assert loaded.tokenizer.eos_token_id in labels[:length].tolist()
    assert loaded.tokenizer.pad_token_id != loaded.tokenizer.eos_token_id


def test_chatml_ends_with_the_end_of_turn(make, tmp_path):
    """Nothing after it: what a reward model scores last, and what ORPO would else add, is the end itself."""
    loaded = make()
    done = trainer(loaded, [CHAT], tmp_path, assistant_only_loss=True)
    assert done.train_dataset[0]["labels"][-1] == loaded.tokenizer.eos_token_id


def test_generation_stops_at_the_end_of_turn(make):
    import torch

    loaded = make()
    with torch.no_grad():  # a head that always wants the end of turn
        loaded.model.get_input_embeddings().weight.zero_()
        loaded.model.get_input_embeddings().weight[loaded.tokenizer.eos_token_id] = 1.0
    ids = torch.tensor([[loaded.tokenizer.eos_token_id]])
    out = loaded.model.generate(ids, max_new_tokens=20, do_sample=False)
    assert out.shape[1] < 21


def test_lora_on_a_base_model_learns_to_stop(stories, load, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    from rlpipe.config.kinds import LoraConfig
    from rlpipe.models.export import save

    folder = shutil.copytree(stories, tmp_path / "base", copy_function=shutil.copyfile)
    weights = load_file(folder / "model.safetensors")
    torch.manual_seed(0)
    weights["model.embed_tokens.weight"][2] = 0.5 * torch.randn(64)  # as if </s> had been trained
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    loaded = load(folder, lora=LoraConfig(rank=16))
    assert not any("never trained" in note for note in loaded.notes)
    done = trainer(loaded, [COMPLETION] * 2, tmp_path, learning_rate=1e-2, max_steps=60, lr_scheduler_type="constant")
    done.train()
    loaded.model = done.model
    save(loaded, tmp_path / "model", "card")
    merged = load(tmp_path / "model")
    prompt = merged.tokenizer.apply_chat_template(MESSAGES[:1], add_generation_prompt=True, return_tensors="pt")
    with torch.no_grad():
        out = merged.model.generate(**prompt, max_new_tokens=30, do_sample=False)
    assert merged.tokenizer.decode(out[0, prompt["input_ids"].shape[1] :]) == "It is 3.</s>"
