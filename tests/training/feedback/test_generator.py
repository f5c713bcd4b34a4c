"""Generating AI feedback: three modes, judges that go by the place, interruptions."""

from __future__ import annotations

import pytest

from rlpipe.core.errors import DataError, Stopped
from rlpipe.datasets.messages import as_pair
from rlpipe.methods.ai_feedback import Mode
from rlpipe.rewards.judge.judge import OnFailure

PROMPTS = 11 + 2


def score_of(text: str) -> int:
    return sum(text.encode()) % 11


def longer(question: str) -> str:
    first, second = (len(text) for text in question.split("|||"))
    return "Better: tie" if first == second else f"Better: {'A' if first > second else 'B'}"


@pytest.fixture
def scoring(judge, asking):
    judge.reply = lambda question: f"Score: {score_of(question)}"
    return asking


def total(metrics: dict) -> float:
    return sum(metrics[f"train/{fate}"] for fate in ("kept", "ties", "unreadable", "unusable"))


def test_best_against_worst(made):
    found = made()
    metrics, rows = found["metrics"], found["train"]
    assert len(rows) == metrics["train/kept"] > 0
    assert len(found["test"]) == metrics["test/kept"]
    assert (total(metrics), metrics["train/prompts"], metrics["test/prompts"]) == (11, 11, 2)
    for row in rows:
        assert row["score_chosen"] > row["score_rejected"]
        assert (row["mode"], row["sampling"]["samples"], row["sampling"]["seed"]) == ("best_of_n", 4, 0)
        assert (row["policy"]["model"], row["judge"]["length"]["plugin"]) == ("pretrained", "length")
        assert set(row["versions"]) == {"rlpipe", "torch", "transformers"}
        prompt, chosen, rejected = as_pair(row["prompt"], row["chosen"], row["rejected"])
        assert (len(prompt), len(chosen), len(rejected)) == (1, 1, 1)
    book = found["book"]
    lengths = metrics["train/response_length"] * 4 * 11 + metrics["test/response_length"] * 4 * 2
    assert book.cost == {"tokens": pytest.approx(lengths)}
    assert set(book.told["data_files"]) == {"train.jsonl", "test.jsonl"}
    assert book.steps[-1] == 2 * PROMPTS
    assert [row["chosen"] for row in book.samples] == [row["chosen"][-1]["content"] for row in rows[:8]]


def test_a_rubric_scores_each_response_and_pairs_two_by_two(made, judge, scoring):
    found = made(scoring(), mode=Mode.rubric)
    assert total(found["metrics"]) == 22
    assert all(row["responses"] in ([0, 1], [1, 0], [2, 3], [3, 2]) for row in found["train"])
    assert found["book"].cost["calls"] == len(judge.asked) == len(set(judge.asked))
    for row in found["train"]:
        for side in ("chosen", "rejected"):
            assert row[f"score_{side}"] == pytest.approx(score_of(row[side][-1]["content"]) / 10)


def test_a_judge_compares_in_both_orders(made, judge, asking):
    judge.reply = longer
    found = made(asking(), mode=Mode.pairwise)
    assert found["train"]
    for row in found["train"]:
        assert len(row["chosen"][-1]["content"]) > len(row["rejected"][-1]["content"])
        assert {row["judged"]["forward"], row["judged"]["backward"]} == {"first", "second"}
        assert row["score_chosen"] is None
    assert found["metrics"]["judge/first_answer_rate"] == 0.5
    assert found["metrics"]["judge/order_consistency"] == 1.0
    asked = {tuple(question.split("|||")) for question in judge.asked}
    assert asked == {(second, first) for first, second in asked}
    assert found["book"].told["notes"] == []


@pytest.mark.slow
@pytest.mark.parametrize(("letter", "place"), [("A", "first"), ("B", "second")])
def test_a_judge_that_always_prefers_one_place_is_named_and_gives_no_rows(made, judge, asking, tmp_path, letter, place):
    judge.reply = lambda question: f"Better: {letter}"
    with pytest.raises(
        DataError, match=rf"no pair is left of 11 prompts: 22 are ties.*named the {place} answer in all"
    ):
        made(asking(), mode=Mode.pairwise)
    assert not (tmp_path / "run" / "data").exists()
    [book] = made.books
    assert any(f"named the {place} answer" in note for note in book.told["notes"])
    assert book.cost["calls"] == len(judge.asked)


@pytest.mark.slow
def test_a_judge_that_leans_to_one_place_is_told_and_its_honest_verdicts_count(made, judge, asking):
    judge.reply = lambda question: longer(question) if len(question) % 3 else "Better: A"
    found = made(asking(), mode=Mode.pairwise, samples=8)
    assert found["metrics"]["judge/first_answer_rate"] > 0.55
    assert found["metrics"]["train/ties"] > 0
    assert found["train"]
    assert any("favours one place" in note for note in found["book"].told["notes"])


@pytest.mark.slow
def test_odd_replies_are_counted_and_drop_their_pairs_alone(made, judge, asking):
    def reply(question: str) -> str:
        return longer(question) if sum(question.encode()) % 2 else "I cannot say."

    judge.reply = reply
    found = made(asking(), mode=Mode.pairwise)
    assert found["metrics"]["train/unreadable"] > 0
    for row in found["train"]:
        both = [row[side][-1]["content"] for side in ("chosen", "rejected")]
        assert reply("|||".join(both)) != "I cannot say."
    judge.reply = lambda question: f"Score: {score_of(question)}" if score_of(question) > 5 else "I cannot say."
    scores = [row["score_rejected"] for row in made(asking(), at="scored")["train"]]
    assert scores
    assert min(scores) > 0.5


def test_scores_that_are_all_equal_leave_no_pair(made, asking):
    with pytest.raises(DataError, match="no pair is left of 11 prompts: 11 are ties"):
        made(asking())


def test_prompts_without_room_are_left_out_and_counted(made):
    metrics = made(max_length=50)["metrics"]
    assert metrics["train/too_long"] > 0
    assert metrics["train/too_long"] + metrics["train/prompts"] == 11
    with pytest.raises(DataError, match="none of 11 prompts leaves room"):
        made(max_length=12, at="none")


@pytest.mark.slow
def test_a_split_without_a_pair_is_not_written_and_that_is_said(made, judge, scoring, tmp_path):
    texts = set()

    def reply(question: str) -> str:
        texts.add(question)
        return f"Score: {score_of(question)}" if len(texts) < 30 else "Score: 1"

    judge.reply = reply
    found = made(scoring())
    assert (len(found["train"]) > 0, found["test"]) == (True, [])
    assert set(found["book"].told["data_files"]) == {"train.jsonl"}
    assert any("no data/test.jsonl" in note for note in found["book"].told["notes"])


def test_what_is_drawn_depends_on_the_seed_and_not_on_the_chunks(made):
    one, other, seeded = made(at="one"), made(at="other", chunk=7), made(at="seeded", seed=1)
    assert [row["responses"] for row in one["train"]] == [row["responses"] for row in other["train"]]
    assert [row["chosen"] for row in one["train"]] == [row["chosen"] for row in other["train"]]
    assert [row["chosen"] for row in one["train"]] != [row["chosen"] for row in seeded["train"]]


@pytest.mark.slow
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("name", ["responses", "judgements"])
def test_wherever_a_run_was_cut_off_it_ends_with_the_same_rows(made, judge, asking, tmp_path, mode, name):
    """What a kill leaves: a file that ends anywhere, and none of those that come after it."""
    judge.reply = lambda question: longer(question) if "|||" in question else f"Score: {score_of(question)}"
    whole = made(asking(), at="cut", mode=mode)
    folder = tmp_path / "cut"
    file = folder / "feedback" / f"{name}.train.jsonl"
    content = file.read_bytes()
    for share in (0.0, 0.3, 0.55, 0.99):
        for later in [*(folder / "data").glob("*"), *(folder / "feedback").glob("judgements.*")]:
            if name == "responses" or later.parent.name == "data":
                later.unlink()
        file.write_bytes(content[: round(share * len(content))])
        again = made(asking(), at="cut", mode=mode)
        assert file.read_bytes() == content
        assert again["book"].told["data_files"] == whole["book"].told["data_files"]
        assert again["metrics"] == whole["metrics"]
        assert again["book"].steps == whole["book"].steps


def test_a_request_to_stop_is_heard_and_what_is_done_is_kept(made, monkeypatch, tmp_path):
    from rlpipe.training.feedback import generator

    draw, asked = generator.draw, []

    def once(*arguments):
        if asked:
            raise Stopped("", "here", "")
        asked.append(arguments)
        return draw(*arguments)

    whole = made(at="whole")
    monkeypatch.setattr(generator, "draw", once)
    with pytest.raises(Stopped):
        made()
    assert len((tmp_path / "run" / "feedback" / "responses.train.jsonl").read_text().splitlines()) == 3
    monkeypatch.setattr(generator, "draw", draw)
    assert made()["train"] == whole["train"]


@pytest.mark.slow
def test_a_run_that_paused_for_its_budget_pays_for_what_is_missing_alone(made, judge, scoring):
    pause = {"on_failure": OnFailure.pause}
    whole = made(scoring(**pause), at="whole")
    paid = len(judge.asked)
    with pytest.raises(Stopped, match="budget of"):
        made(scoring(**pause, budget=paid // 2), at="paused")
    assert len(judge.asked) == paid + paid // 2
    again = made(scoring(**pause, budget=paid), at="paused")
    assert len(judge.asked) == 2 * paid
    assert [book.cost["calls"] for book in made.books] == [paid, paid // 2, paid - paid // 2]
    assert (again["train"], again["test"]) == (whole["train"], whole["test"])
