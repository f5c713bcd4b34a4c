"""What a person sees, on a terminal and elsewhere."""

import io
import shlex

import pytest
from rich.console import Console
from rich.table import Table

from rlpipe.core.errors import TrainingError
from rlpipe.core.progress import TrainingProgress
from rlpipe.core.terminal import count, duration, indented, say, say_detail, show
from rlpipe.records.changes import cost
from rlpipe.run.summary import before_after, finding, next_commands, summary


def plain(**options):
    return Console(file=io.StringIO(), width=120, highlight=False, **options)


def test_off_a_terminal_a_line_now_and_then_is_enough(tmp_path):
    from rlpipe.training import callbacks
    from tests.training.tiny_training import trainer

    out = plain()
    callbacks.train(trainer(tmp_path, progress=TrainingProgress(on=out), max_steps=6, logging_steps=2), None)
    lines = out.file.getvalue().splitlines()
    assert lines[0].startswith("step 2/6  ")
    assert "loss " in lines[0]
    assert "grad norm" in lines[0]
    assert "left" in lines[0]
    assert lines[1].startswith("trained 6 steps in ")
    assert len(lines) == 2, "the next would be half a minute later"


def test_on_a_terminal_a_bar_is_redrawn_and_taken_away(tmp_path):
    from rlpipe.training import callbacks
    from tests.training.tiny_training import trainer

    out = plain(force_terminal=True)
    callbacks.train(trainer(tmp_path, progress=TrainingProgress(on=out), max_steps=4), None)
    text = out.file.getvalue()
    assert "4/4" in text
    assert "trained 4 steps" in text


def test_the_bar_is_gone_after_an_error(tmp_path):
    from rlpipe.training import callbacks
    from tests.training import tiny_training
    from tests.training.tiny_training import trainer

    out = plain(force_terminal=True)
    progress = TrainingProgress(on=out)
    with pytest.raises(TrainingError):
        callbacks.train(trainer(tmp_path, progress=progress, data=tiny_training.rows(bad=range(48))), None)
    assert progress._bar is None


def test_it_can_be_switched_off(tmp_path):
    from rlpipe.training import callbacks
    from tests.training.tiny_training import trainer

    out = plain()
    callbacks.train(trainer(tmp_path, progress=TrainingProgress(enabled=False, on=out), max_steps=2), None)
    assert out.file.getvalue() == ""


def test_other_processes_show_nothing(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    out = plain()
    progress = TrainingProgress(on=out)
    progress.start(0, 10)
    progress.log(1, {"loss": 1.0})
    progress.stop()
    assert out.file.getvalue() == ""


def test_the_methods_numbers_and_tokens_are_shown(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("rlpipe.core.progress.time.monotonic", lambda: next(clock))
    out = plain()
    progress = TrainingProgress(on=out)
    progress.start(0, 10)
    progress.log(5, {"loss": 0.5, "rewards/accuracies": 0.75, "rewards/margins": 0.1234, "other": 3}, tokens=3000)
    line = out.file.getvalue()
    assert "loss 0.5000" in line
    assert "accuracy 0.75" in line
    assert "margin 0.123" in line
    assert "tokens/s" in line
    assert "other" not in line


def test_the_loss_is_smoothed():
    out = plain()
    progress = TrainingProgress(on=out)
    progress.start(0, 10)
    for step, loss in enumerate([1.0, 0.0], 1):
        progress.log(step, {"loss": loss})
    assert 0.3 < float(progress._numbers().split("loss ")[1].split()[0]) < 0.6


MANIFEST = {
    "overrides": [],
    "config": {"dataset": {"name": "gsm8k", "source": "some rows.jsonl"}, "method": {"name": "sft"}},
}
RESULT = {
    "status": "ok",
    "metrics": {"before/preference/accuracy": 0.51, "after/preference/accuracy": 0.68, "after/preference/margin": 1.5},
    "cost": {"seconds": 75.0, "steps": 100, "tokens": 12345},
    "attempts": 2,
}


def test_the_summary_shows_before_and_after_and_what_to_type_next(tmp_path):
    run_dir = tmp_path / "a run"
    (run_dir / "model").mkdir(parents=True)
    out = plain()
    summary(run_dir, RESULT, MANIFEST, out)
    text = out.file.getvalue()
    row = next(line for line in text.splitlines() if "│" in line and "accuracy" in line)
    assert "0.51" in row
    assert "0.68" in row
    assert "+0.17" in row
    assert "1:15, 100 steps, 12,345 tokens, 2 attempts" in text
    command = next(line for line in text.splitlines() if line.startswith("evaluate"))
    assert shlex.split(command)[1:] == [
        *("rlpipe", "method=none", "model=hf"),
        f"model.source={run_dir / 'model'}",
        "dataset=gsm8k",
        "dataset.source=some rows.jsonl",
    ]
    assert text.startswith("From before to after training: preference accuracy 0.51 → 0.68.")


@pytest.mark.parametrize(("method", "words"), [("sft", True), ("grpo", True), ("reward_model", False)])
def test_one_can_talk_to_what_writes(tmp_path, monkeypatch, method, words):
    (tmp_path / "model").mkdir()
    manifest = {**MANIFEST, "config": {**MANIFEST["config"], "method": {"name": method}}}
    monkeypatch.chdir(tmp_path.parent)
    commands = dict(next_commands(tmp_path, RESULT, manifest))
    assert commands.get("talk to it") == (f"rlpipe chat {tmp_path.name}" if words else None), "short, from here"


def test_an_unfinished_run_is_told_how_to_go_on(tmp_path):
    manifest = {"overrides": ["method=dpo", "run_dir=old", "seed=3"]}
    commands = next_commands(tmp_path, {"status": "stopped"}, manifest)
    assert commands == [("go on", f"rlpipe method=dpo seed=3 run_dir={tmp_path}")]


def test_numbers_without_a_pair_stand_alone():
    table = before_after({"after/preference/margin": 1.5, "train_loss": 3})
    assert table.row_count == 1


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0s"), (59.4, "59s"), (75, "1:15"), (7387, "2:03:07")])
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(("number", "words"), [(950, "950"), (1234, "1.23k"), (4_500_000, "4.5M")])
def test_counts(number, words):
    assert count(number) == words


def test_a_cost_without_tokens():
    assert cost({"seconds": 3}) == "3s"
    assert cost({"seconds": 3, "peak_memory": 3.21e9}) == "3s, 3.2 GB of memory at most"


def table_text(metrics) -> list[str]:
    out = Console(file=io.StringIO(), width=160)
    out.print(before_after(metrics))
    return out.file.getvalue().splitlines()


def test_a_change_stands_with_its_interval_beside_its_number():
    change = {"change/preference/score": 0.17, "change/preference/low": 0.05, "change/preference/high": 0.29}
    lines = table_text(RESULT["metrics"] | change | {"before/preference/margin": 1.0})
    accuracy = next(line for line in lines if "accuracy" in line)
    assert "+0.05 … +0.29" in accuracy
    assert not any("+0.29" in line for line in lines if "margin" in line)
    assert not any("separable" in line for line in lines)


def test_a_change_that_could_be_none_is_called_so():
    metrics = {"before/accuracy/accuracy": 0.25, "after/accuracy/accuracy": 0.375}
    metrics |= {"change/accuracy/score": 0.125, "change/accuracy/low": -0.0625, "change/accuracy/high": 0.25}
    (line,) = [line for line in table_text(metrics) if "+0.125" in line]
    assert "-0.0625 … +0.25: not separable from no change" in line


def test_a_score_that_no_number_is_has_a_row_of_its_own():
    metrics = {"before/perplexity/loss": 2.0, "after/perplexity/loss": 1.0}
    metrics |= {"change/perplexity/score": 1.1, "change/perplexity/low": 1.0, "change/perplexity/high": 1.2}
    (line,) = [line for line in table_text(metrics) if "score" in line]
    assert "+1.1" in line
    assert "+1 … +1.2" in line


def test_an_override_is_no_markup(capsys):
    show(Table("after=[method=sft]"))
    say("give after=[method=sft] again")
    assert capsys.readouterr().err.count("after=[method=sft]") == 2


ROSE = {"before/preference/accuracy": 0.51, "after/preference/accuracy": 0.68}
SCORE = {"change/preference/score": 0.17, "change/preference/low": 0.05, "change/preference/high": 0.29}


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (
            ROSE | SCORE,
            "Training changed preference accuracy from 0.51 to 0.68 (+0.17, 95 % interval +0.05 … +0.29).",
        ),
        (
            ROSE | SCORE | {"change/preference/low": -0.1},
            "No change that can be told from chance: preference accuracy from 0.51 to 0.68 (+0.17, 95 % interval "
            "-0.1 … +0.29).",
        ),
        (SCORE, "Training changed preference mean score (+0.17, 95 % interval +0.05 … +0.29)."),
        ({"before/choice/accuracy": 0.5}, "Measured: choice accuracy 0.5."),
        ({"train_loss": 1.0}, None),
    ],
)
def test_what_was_found_is_said_in_a_sentence(metrics, words):
    assert finding(metrics) == words


def test_no_column_of_the_table_is_empty():
    lines = table_text({"before/choice/accuracy": 0.5})
    assert [name.strip() for name in lines[1].strip("┃").split("┃")] == ["evaluation", "number", "before"]


def test_a_part_of_the_work_is_indented_and_leaves_its_details_to_its_record(capsys):
    with indented():
        say("building\nmore")
        say_detail("a detail")
        show(Table("a table"))
        out = plain()
        progress = TrainingProgress(on=out)
        progress.start(0, 2)
        progress.stop()
    say_detail("shown")
    assert capsys.readouterr().err.splitlines() == ["  building", "  more", "shown"]
    assert out.file.getvalue().startswith("  trained 0 steps")
