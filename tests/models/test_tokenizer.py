from __future__ import annotations

import filecmp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlpipe.models.blank import TOKENIZER
from rlpipe.models.train_tokenizer import MARKERS, SPECIAL, main


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(TOKENIZER)


@pytest.mark.slow
def test_training_again_gives_the_shipped_files(tmp_path):
    main([str(tmp_path)])
    names = ["tokenizer.json", "tokenizer_config.json"]
    assert filecmp.cmpfiles(TOKENIZER, tmp_path, names, shallow=False)[0] == names, (
        "the generators have changed: python -m rlpipe.models.train_tokenizer"
    )


def test_special_tokens(tokenizer):
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == ("<|im_end|>", "<|endoftext|>", None)
    assert tokenizer.convert_tokens_to_ids(SPECIAL) == [0, 1, 2]
    assert all(len(tokenizer.encode(marker)) == 1 for marker in MARKERS)
    text = "<think>1</think><|im_end|>"
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == "<think>1</think>"


def test_digits_stand_one_by_one(tokenizer):
    assert tokenizer.tokenize("2026+17 of 5") == ["2", "0", "2", "6", "+", "1", "7", "Ġof", "Ġ", "5"]


def test_sample_text_is_short(tokenizer):
    text = "Hello Anna! How can I help you?"
    assert len(tokenizer.encode(text)) < len(text) / 2


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_is_unknown(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text
