"""Batched likelihoods against transformers' own loss on one sequence at a time."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

from rlpipe.config.kinds import EvaluationConfig, Head
from rlpipe.datasets.forms import Choice, Completion, Preference
from rlpipe.engines import scoring
from rlpipe.evaluations.choice import ChoiceAccuracy
from rlpipe.evaluations.perplexity import Perplexity, PerplexityConfig
from rlpipe.evaluations.preference import PreferenceAccuracy

CONFIG = EvaluationConfig(name="x", batch_tokens=300)
WORDS = ["red", "blue", "seven", "cat", "dog", "runs", "over", "under", "the", "a", "stone", "river", "12", "40"]


def said(role: str, count: int, rng: random.Random) -> list[dict[str, str]]:
    return [{"role": role, "content": " ".join(rng.choices(WORDS, k=count))}]


@pytest.fixture(scope="module")
def pairs():
    rng = random.Random(0)
    return [(said("user", rng.randint(1, 30), rng), said("assistant", rng.randint(1, 20), rng)) for _ in range(24)]


def completions(pairs) -> list[Completion]:
    return [Completion(f"test/{i}", prompt, completion) for i, (prompt, completion) in enumerate(pairs)]


def by_transformers(loaded, prompt, completion) -> tuple[float, int]:
    """The summed log-probability from the model's own loss on the lone, unpadded sequence."""
    import torch

    tokenizer = loaded.tokenizer
    whole = tokenizer.apply_chat_template(prompt + completion, return_dict=True, return_tensors="pt")["input_ids"]
    start = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
    labels = whole.clone()
    labels[:, : len(start)] = -100
    count = int((labels != -100).sum())
    with torch.no_grad():
        loss = loaded.model(input_ids=whole, labels=labels).loss.item()
    return -loss * count, count


def test_likelihoods_equal_transformers_loss(blank_loaded, pairs):
    found = scoring.likelihoods(blank_loaded, completions(pairs), batch_tokens=300)
    for (one,), (prompt, completion) in zip(found, pairs, strict=True):
        logp, tokens = by_transformers(blank_loaded, prompt, completion)
        assert one.tokens == tokens
        assert one.logp == pytest.approx(logp, rel=1e-4, abs=1e-3)


def test_a_completion_longer_than_the_context_is_scored_where_it_can_be(blank_loaded):
    context = blank_loaded.model.config.max_position_embeddings
    rng = random.Random(1)
    long, short = said("assistant", 2 * context, rng), said("assistant", 3, rng)
    prompt = said("user", 3, rng)
    ((alone,),) = scoring.likelihoods(blank_loaded, completions([(prompt, short)]), batch_tokens=10**6)
    both = completions([(prompt, long), (prompt, short)])
    (cut,), (whole,) = scoring.likelihoods(blank_loaded, both, batch_tokens=10**6)
    assert cut.tokens == context - 1
    assert whole.tokens == alone.tokens
    assert whole.logp == pytest.approx(alone.logp, rel=1e-4, abs=1e-3)


def test_likelihoods_do_not_depend_on_the_batch(blank_loaded, pairs):
    small = scoring.likelihoods(blank_loaded, completions(pairs), batch_tokens=1)
    large = scoring.likelihoods(blank_loaded, completions(pairs), batch_tokens=10**6)
    assert [one.logp for (one,) in small] == pytest.approx([one.logp for (one,) in large], rel=1e-4, abs=1e-3)


def test_logits_never_exceed_a_chunk(blank_loaded, pairs, monkeypatch):
    whole = scoring.likelihoods(blank_loaded, completions(pairs))
    from rlpipe.engines import decoder

    head = blank_loaded.model.get_output_embeddings()
    monkeypatch.setattr(decoder, "SHORTEST_CHUNK", 1)
    monkeypatch.setattr(decoder, "CHUNKS", {"cpu": 4 * head.weight.shape[0]})
    made: list[int] = []
    watched = head.register_forward_hook(lambda _, inputs, __: made.append(len(inputs[0])))
    parts = scoring.likelihoods(blank_loaded, completions(pairs))
    watched.remove()
    assert max(made) == 4
    assert sum(made) == sum(one.tokens for (one,) in parts), "prompts and padding have no logits"
    assert [one.logp for (one,) in parts] == pytest.approx([one.logp for (one,) in whole], rel=1e-5)


@pytest.mark.parametrize("apart", [True, False], ids=["head apart", "head unknown"])
@pytest.mark.parametrize("family", ["gemma2_window", "lfm2_convolutions"])
def test_families_are_scored_by_their_own_logits(pairs, family, apart, monkeypatch):
    """Alone and unpadded, and in batches padded at the right without a mask."""
    import torch

    from rlpipe.engines import shared_prefix
    from tests.engines.families import config_of, loaded

    one = loaded(config_of(family))
    if not apart:
        unknown = shared_prefix.Support(head=False, shared=False, reason="", vocabulary=943)
        monkeypatch.setattr(shared_prefix, "support", lambda model: unknown)
    for (found,), (prompt, completion) in zip(
        scoring.likelihoods(one, completions(pairs[:6]), 200), pairs[:6], strict=True
    ):
        (tokens,) = scoring.tokenize(completions([(prompt, completion)]), one.tokenizer)
        ids = torch.tensor([tokens.prompt + tokens.answers[0]])
        with torch.no_grad():
            logps = one.model(input_ids=ids).logits.log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]
        wanted = logps[-len(tokens.answers[0]) :].sum().item()
        assert found.logp == pytest.approx(wanted, rel=1e-4, abs=1e-3)


def test_a_text_is_scored_once_under_the_same_weights(blank_loaded, pairs):
    """Perplexity looks at the chosen answers that preference has scored."""
    made: list[int] = []
    decoder = blank_loaded.model.get_decoder()
    whole = [Preference(str(i), *pair, pairs[i - 1][1]) for i, pair in enumerate(pairs)]
    sharing = dataclasses.replace(blank_loaded, scored={})
    watched = decoder.register_forward_hook(lambda *call: made.append(1))
    PreferenceAccuracy(CONFIG).rows(sharing, whole)
    assert made
    made.clear()
    rows = Perplexity(PerplexityConfig(name="x", batch_tokens=300)).rows(sharing, completions(pairs))
    assert not made
    anew = Perplexity(PerplexityConfig(name="x", batch_tokens=300)).rows(blank_loaded, completions(pairs))
    watched.remove()
    assert made, "what keeps nothing scores anew"
    assert [row["score"] for row in rows] == pytest.approx([row["score"] for row in anew], rel=1e-5)


def test_rows_keep_the_examples_order_and_ids(blank_loaded, pairs):
    examples = completions(pairs)
    perplexity = Perplexity(PerplexityConfig(name="x", batch_tokens=300))
    rows = perplexity.rows(blank_loaded, examples)
    assert [row["id"] for row in rows] == [example.id for example in examples]
    alone = perplexity.rows(blank_loaded, examples[5:6])
    assert alone[0]["parts"]["logp"] == pytest.approx(rows[5]["parts"]["logp"], rel=1e-4, abs=1e-3)


def test_a_pair_of_equal_completions_is_a_tie(blank_loaded, pairs):
    (prompt, completion), (_, other) = pairs[0], pairs[1]
    examples = [Preference("a", prompt, completion, completion), Preference("b", prompt, completion, other)]
    tie, decided = PreferenceAccuracy(CONFIG).rows(blank_loaded, examples)
    assert tie["score"] == 0.5
    assert decided["score"] in (0.0, 1.0)


def test_the_likeliest_choice_is_picked(blank_loaded, pairs):
    prompt = pairs[0][0]
    choices = ["cat", "dog runs over the river", "blue"]
    (row,) = ChoiceAccuracy(CONFIG).rows(blank_loaded, [Choice("a", prompt, choices, 1)])
    wanted = [by_transformers(blank_loaded, prompt, [{"role": "assistant", "content": c}])[0] for c in choices]
    assert row["logps"] == pytest.approx(wanted, rel=1e-4, abs=1e-3)
    assert row["score"] == float(row["logps"].index(max(row["logps"])) == 1)


def test_reward_head_scores_do_not_depend_on_the_batch(blank_reward, pairs):
    assert blank_reward.head is Head.reward
    whole = [Preference(str(i), *pair, pairs[i - 1][1]) for i, pair in enumerate(pairs)]
    together = scoring.rewards(blank_reward, whole, batch_tokens=10**6)
    alone = scoring.rewards(blank_reward, whole, batch_tokens=1)
    assert np.array(together) == pytest.approx(np.array(alone), rel=1e-3, abs=1e-4)
    assert len(set(together)) > 1


@pytest.mark.parametrize("head", ["blank_loaded", "blank_reward"])
def test_a_prompt_that_two_answers_follow_is_read_once(head, pairs, request, monkeypatch):
    from rlpipe.engines import shared_prefix, shared_prompts
    from rlpipe.engines.row_costs import Costs

    loaded = request.getfixturevalue(head)
    score = scoring.rewards if loaded.head is Head.reward else scoring.likelihoods
    whole = [Preference(str(i), *pair, pairs[i - 1][1]) for i, pair in enumerate(pairs)]
    prompts = sum(len(one.prompt) for one in scoring.tokenize(whole, loaded.tokenizer))
    found, counts = [], []
    for costs in (Costs(share=False), Costs(share=True)):
        for module in (shared_prefix, shared_prompts):
            monkeypatch.setattr(module, "costs", lambda model, costs=costs: costs)
        seen: list[int] = []
        watched = loaded.model.get_input_embeddings().register_forward_hook(
            lambda _, given, __, seen=seen: seen.append(given[0].numel())
        )
        found.append(score(loaded, whole, batch_tokens=1))
        watched.remove()
        counts.append(sum(seen))
    assert counts[0] - counts[1] >= prompts, "a row of its own for each answer, then one for both"
    plain, shared = (np.array([[getattr(one, "logp", one) for one in pair] for pair in side]) for side in found)
    assert shared == pytest.approx(plain, rel=1e-4, abs=1e-4)


def test_rows_of_two_are_batched_by_what_they_are_together():
    from rlpipe.engines.row_costs import Costs

    spans = [scoring.Span([*prompt, *end], len(end)) for prompt, end in [("aaaa", "b"), ("c", "d"), ("aaaa", "eff")]]
    assert list(scoring._batches(spans, 10, Costs(share=True))) == [[0, 2], [1]]
    assert list(scoring._batches(spans, 16, Costs(share=True))) == [[0, 2, 1]]
    assert list(scoring._batches(spans, 14, Costs(share=False))) == [[2, 0], [1]]
    assert list(scoring._batches(spans, 14, Costs(share=True, masked=1.0))) == [[2, 0], [1]]
    assert list(scoring._batches(spans, 10, Costs(share=True), vocabulary=scoring.LOGITS_PER_BATCH)) == [[0, 2], [1]]
