from __future__ import annotations

from dataclasses import replace

import pytest

from rlpipe.config.kinds import Head, LoraConfig
from rlpipe.core.errors import RecordError
from rlpipe.models import export
from rlpipe.models.export import save

IDS = [[1, 20, 30, 40, 2]]


def shaken(model):
    """Change every weight that is trained, as training would."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn_like(weight)
    return model.eval()


def test_plain_transformers_reloads_it(make, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = make()
    shaken(loaded.model)
    save(loaded, tmp_path / "model", "# A card\n")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert torch.equal(model(torch.tensor(IDS)).logits, loaded.model(torch.tensor(IDS)).logits)
    assert (tmp_path / "model" / "README.md").read_text() == "# A card\n"
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi."}], add_generation_prompt=True, return_tensors="pt"
    )
    out = model.generate(**prompt, max_new_tokens=5, do_sample=False)
    assert out.shape[1] > prompt["input_ids"].shape[1]
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("head", list(Head))
def test_lora_is_saved_merged_and_as_an_adapter(make, tmp_path, head):
    import torch
    from peft import PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    loaded = make(head=head, lora=LoraConfig(rank=4))
    trained = shaken(get_peft_model(loaded.model, loaded.peft))
    want = trained(torch.tensor(IDS)).logits
    save(replace(loaded, model=trained), tmp_path / "model", "card")
    assert torch.equal(trained(torch.tensor(IDS)).logits, want)  # saving left the trained model alone
    auto = AutoModelForSequenceClassification if head is Head.reward else AutoModelForCausalLM
    merged = auto.from_pretrained(tmp_path / "model")
    assert torch.allclose(merged(torch.tensor(IDS)).logits, want, atol=1e-5)
    assert not any("lora" in name for name, _ in merged.named_parameters())
    arguments = {"num_labels": 1} if head is Head.reward else {}
    base = auto.from_pretrained(loaded.path, **arguments)
    adapted = PeftModel.from_pretrained(base, tmp_path / "model" / "adapter")
    assert torch.equal(adapted(torch.tensor(IDS)).logits, want)
    assert merged.config.pad_token_id == loaded.tokenizer.pad_token_id


def test_an_older_model_is_replaced_whole(make, tmp_path):
    loaded = make()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "stale.txt").touch()
    save(loaded, tmp_path / "model", "")
    assert not (tmp_path / "model" / "stale.txt").exists()
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_a_failed_save_leaves_the_older_model(make, tmp_path, monkeypatch):
    loaded = make()
    save(loaded, tmp_path / "model", "first")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(loaded.tokenizer, "save_pretrained", full)
    with pytest.raises(RecordError, match="No space"):
        save(loaded, tmp_path / "model", "second")
    assert (tmp_path / "model" / "README.md").read_text() == "first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "start"]


def test_two_processes_write_the_start_at_once(make, tmp_path, monkeypatch):
    """The one that comes second finds the folder taken while it renames, and takes that."""
    loaded = make()
    target = tmp_path / "both"
    put = export._put

    def late(written, folder, replace):
        if not folder.exists():
            export.materialise(loaded.model, loaded.tokenizer, folder)
        put(written, folder, replace)

    calls = []
    monkeypatch.setattr(export, "_put", lambda *a: (calls.append(a), late(*a) if len(calls) == 1 else put(*a)))
    assert export.materialise(loaded.model, loaded.tokenizer, target) == target
    assert len(calls) == 2
    assert (target / "model.safetensors").exists()
    assert not list(tmp_path.glob(".*"))
