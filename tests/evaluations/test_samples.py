"""Samples to read: the likeliest completions, and how the terminal shows them."""

from __future__ import annotations

import io

from rich.console import Console

from rlpipe.datasets.forms import Prompt
from rlpipe.evaluations.base import EvaluationContext
from rlpipe.evaluations.samples import Samples, SamplesConfig
from tests.composed import compose


def row(completion: str, finish: str = "stop") -> dict:
    return {"id": "test/0", "prompt": "Say [hi].", "completion": completion, "finish": finish, "tokens": 1, "calls": []}


def drawn(one: Samples, *rows: list[dict] | None) -> str:
    out = Console(file=io.StringIO(), width=100)
    out.print(one.render(*rows))
    return out.file.getvalue()


def test_rows_are_the_models_likeliest_completions(blank_loaded, tmp_path):
    one = Samples(SamplesConfig(name="samples", max_tokens=5))
    one.start(EvaluationContext(compose("method=none"), tmp_path, "samples"))
    prompts = [Prompt(f"test/{n}", [{"role": "user", "content": "Hello " * n}]) for n in (1, 2)]
    rows = one.rows(blank_loaded, prompts)
    assert [row["id"] for row in rows] == ["test/1", "test/2"]
    assert all(row["completion"] and row["tokens"] <= 5 and "score" not in row for row in rows)
    text = blank_loaded.tokenizer.apply_chat_template(
        prompts[0].prompt, add_generation_prompt=True, return_tensors="pt"
    )
    ids = blank_loaded.model.generate(text["input_ids"], max_new_tokens=5, do_sample=False, pad_token_id=0)
    assert rows[0]["completion"] == blank_loaded.tokenizer.decode(ids[0][text["input_ids"].shape[1] :])


def test_a_prompt_that_fills_the_context_gets_an_empty_completion(blank_loaded, tmp_path):
    one = Samples(SamplesConfig(name="samples", max_tokens=5))
    one.start(EvaluationContext(compose("method=none"), tmp_path, "samples"))
    prompts = [Prompt(f"test/{n}", [{"role": "user", "content": "Hello " * n}]) for n in (1, 1000, 2)]
    first, none, last = one.rows(blank_loaded, prompts)
    assert (none["completion"], none["finish"], none["tokens"]) == ("", "length", 0)
    assert [first, last] == one.rows(blank_loaded, [prompts[0], prompts[2]])


def test_before_and_after_stand_beside_each_other():
    one = Samples(SamplesConfig(name="samples"))
    text = drawn(one, [row("Hello there!")], [row("hm", "length")])
    assert "before" in text
    assert "after" in text
    line = next(line for line in text.splitlines() if "Hello there!" in line)
    assert line.index("[hi]") < line.index("hm … (cut by length)") < line.index("Hello there!")


def test_alone_there_is_one_completion_and_long_ones_are_cut():
    text = drawn(Samples(SamplesConfig(name="samples")), [row("ab" * 5000)], None)
    assert "before" not in text
    assert len(text) < 4000
    assert "…" in text


def test_empty_lines_fill_no_table():
    one = Samples(SamplesConfig(name="samples"))
    assert one.render([row("\n" * 50)], [row(" ")]) is None, "a table of blank cells"
    text = drawn(one, [row("one\n\n\ntwo")], [row("\n" * 50, "length")])
    assert "one ⏎ two" in text
    assert "(empty) … (cut by length)" in text
    assert len(text.splitlines()) < 8
