"""The rule about failing trackers, and what training sends to them."""

import logging
import math

import pytest

from rlpipe.config.kinds import TrackerConfig
from rlpipe.core.errors import RlpipeError
from rlpipe.records.record import Record, Status
from rlpipe.trackers.base import RunIdentity, Tracker
from rlpipe.trackers.guarded import Guarded
from rlpipe.trackers.none import NoTracker
from rlpipe.trackers.wandb import Mode
from tests.composed import compose


class Fragile(Tracker):
    """Fails when told to, and keeps what it got."""

    def __init__(self, at=None):
        super().__init__(TrackerConfig(name="fragile"))
        self.at = at
        self.got = []

    def _do(self, *what):
        if what[0] == self.at:
            raise ConnectionError("the service\nis away")
        self.got.append(what)

    def start(self, run, config):
        self._do("start", run.id)

    def log(self, metrics, step):
        self._do("log", step, metrics)

    def table(self, name, rows, step):
        self._do("table", name)

    def evaluation(self, name, before, after, step):
        self._do("evaluation", name)

    def summary(self, metrics):
        self._do("summary", metrics)

    def finish(self, ok):
        self._do("finish", ok)


def known(record: Record) -> RunIdentity:
    return RunIdentity(record.manifest["id"], record.run_dir.name, record.run_dir, "dpo")


@pytest.fixture
def identity(tmp_path):
    return RunIdentity("abc", "name", tmp_path, "dpo")


def drive(tracker, identity):
    tracker.start(identity, {})
    for step in (1, 2):
        tracker.log({"loss": 1.0}, step)
    tracker.table("samples", [], 2)
    tracker.evaluation("accuracy", [{"id": 1}], None, 2)
    tracker.summary({})
    tracker.finish(True)


def test_one_that_cannot_start_stops_the_run(identity):
    with pytest.raises(
        RlpipeError, match=r"tracker=fragile: cannot start: ConnectionError: the service is away\n.*tracker=none"
    ):
        drive(Guarded(Fragile("start")), identity)


@pytest.mark.parametrize("at", ["log", "table", "evaluation", "summary", "finish"])
def test_one_that_fails_later_is_switched_off_with_one_line(at, identity, caplog):
    inner = Fragile(at)
    with caplog.at_level(logging.WARNING):
        drive(Guarded(inner), identity)
    assert len(caplog.records) == 1
    assert "\n" not in caplog.text.strip()
    assert "tracker=fragile failed and is switched off: ConnectionError: the service is away" in caplog.text
    order = ["start", "log", "log", "table", "evaluation", "summary", "finish"]
    assert [what[0] for what in inner.got] == order[: order.index(at)]


def test_a_ctrl_c_is_no_failure_of_the_tracker(identity):
    class Interrupted(Fragile):
        def log(self, metrics, step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(Guarded(Interrupted()), identity)


def test_steps_that_were_logged_are_not_logged_again(identity):
    inner = Fragile()
    guarded = Guarded(inner, logged_until=1)
    drive(guarded, identity)
    assert [what[1] for what in inner.got if what[0] == "log"] == [2]
    past = Fragile()
    drive(Guarded(past, logged_until=2), identity)
    assert [what[0] for what in past.got] == ["start", "evaluation", "summary", "finish"]


@pytest.mark.parametrize(("confirmed", "sent"), [(None, [2]), (-1, [1, 2]), (0, [1, 2]), (1, [2]), (7, [2])])
def test_steps_that_the_destination_lacks_are_logged_again(identity, confirmed, sent):
    inner = Fragile()
    inner.confirmed = lambda: confirmed
    drive(Guarded(inner, logged_until=1), identity)
    assert [what[1] for what in inner.got if what[0] == "log"] == sent


def test_a_tracker_that_knows_no_evaluations_shows_their_newest_rows_as_a_table(identity):
    class Plain(Fragile):
        evaluation = Tracker.evaluation

    inner = Plain()
    tracker = Guarded(inner)
    tracker.start(identity, {})
    tracker.evaluation("accuracy", [{"id": 1}], None, 0)
    tracker.evaluation("accuracy", [{"id": 1}], [{"id": 1}], 9)
    assert [what[1] for what in inner.got[1:]] == ["evaluations/accuracy/before", "evaluations/accuracy/after"]


def test_not_started_it_does_nothing(identity):
    inner = Fragile()
    Guarded(inner).log({"loss": 1.0}, 1)
    assert inner.got == []


def test_no_tracker_does_nothing(identity):
    drive(Guarded(NoTracker(TrackerConfig(name="none"))), identity)


@pytest.mark.slow
def test_training_logs_to_record_and_tracker_and_resumes_without_gap_or_repeat(tmp_path):
    from rlpipe.training import callbacks
    from tests.training.tiny_training import trainer

    inner = Fragile()
    record = Record.open(tmp_path / "run", {"seed": 0})
    guarded = Guarded(inner, record.logged_until)
    guarded.start(known(record), {})
    made = trainer(record.checkpoints, record=record, tracker=guarded, max_steps=8, logging_steps=2, save_steps=3)
    callbacks.train(made, None)
    whole = record.metrics()
    assert [row["step"] for row in whole] == [2, 4, 6, 8]
    assert all(math.isfinite(row["loss"]) and "grad_norm" in row and row["time"] > 0 for row in whole)
    assert [what[1] for what in inner.got if what[0] == "log"] == [2, 4, 6, 8]
    record.finish(Status.stopped, "train")

    again = Record.open(tmp_path / "run", {"seed": 0})
    again.rewind(6)
    guarded = Guarded(inner, again.logged_until)
    guarded.start(known(again), {})
    made = trainer(again.checkpoints, record=again, tracker=guarded, max_steps=8, logging_steps=2, save_steps=3)
    callbacks.train(made, again.checkpoints / "checkpoint-6")
    assert [row["step"] for row in again.metrics()] == [2, 4, 6, 8]
    assert again.metrics()[-1]["loss"] == whole[-1]["loss"]
    assert [what[1] for what in inner.got if what[0] == "log"] == [2, 4, 6, 8]
    assert {what[1] for what in inner.got if what[0] == "start"} == {record.manifest["id"]}


@pytest.mark.parametrize("name", ["none", "tensorboard", "wandb", "mlflow"])
def test_every_tracker_can_be_chosen(name):
    assert compose(f"tracker={name}").tracker.name == name


def test_wandb_settings_from_the_command_line():
    config = compose("tracker=wandb", "tracker.mode=offline", "tracker.tags=[a,b]", "tracker.group=g").tracker
    assert config.mode is Mode.offline
    assert config.tags == ["a", "b"]
    assert config.group == "g"
