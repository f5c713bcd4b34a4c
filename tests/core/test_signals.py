"""Stopping on request: once asks, twice insists, children are left out."""

import os
import signal
import subprocess
import threading
import time

import pytest

from rlpipe.core.signals import SIGNALS, Interrupted, heed, stop_requests
from rlpipe.records import checkpoints


@pytest.fixture(autouse=True)
def _listening():
    """A shell's background jobs begin with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press(number=signal.SIGINT):
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # lets the interpreter run the handler


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks(number, capfd):
    before = signal.getsignal(number)
    with stop_requests() as stop:
        assert not stop.requested
        press(number)
        assert stop.requested
        assert stop.signal == number
    assert "stopping at the next step boundary" in capfd.readouterr().err
    assert signal.getsignal(number) == before


def test_the_second_ctrl_c_insists():
    with stop_requests(patience=0.0) as stop:
        press()
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            press()
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_a_launcher_that_passes_the_same_ctrl_c_on_does_not_insist():
    with stop_requests(patience=60.0) as stop:
        press()
        press()
        press(signal.SIGTERM)
        press(signal.SIGTERM)
        assert stop.requested


def test_old_handlers_come_back_after_an_error():
    with pytest.raises(ValueError, match="boom"), stop_requests():
        raise ValueError("boom")
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_one_inside_another_gives_the_handlers_back_to_it():
    with stop_requests() as outer:
        with stop_requests() as inner:
            press()
        assert inner.requested
        assert not outer.requested
        press()
        assert outer.requested


def test_outside_the_main_thread_nothing_is_asked():
    seen = []

    def body():
        with stop_requests() as stop:
            seen.append(stop.requested)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [False]


def test_forked_children_ignore_ctrl_c_and_end_by_sigterm():
    with stop_requests() as stop:
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)
            os._exit(0)
        time.sleep(0.1)
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        assert not stop.requested


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="this system does not tell who sent a signal")
def test_forked_children_outlive_a_sigterm_that_goes_to_every_process_of_a_run():
    with stop_requests() as stop:
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
        time.sleep(0.1)
        subprocess.run(["kill", "-TERM", str(child)], check=True)
        time.sleep(0.1)
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        assert not stop.requested


class Asked:
    """A stop request that is made during a given step."""

    def __init__(self, trainer_of, step):
        self.trainer_of, self.step = trainer_of, step

    @property
    def requested(self):
        return self.trainer_of[0].state.global_step >= self.step


@pytest.mark.slow
def test_training_saves_at_the_step_boundary_and_goes_on_exactly(tmp_path):
    from rlpipe.training import callbacks
    from tests.training.tiny_training import Never, trainer, weights

    straight = trainer(tmp_path / "straight")
    callbacks.train(straight, None)
    box = []
    box.append(trainer(tmp_path / "stopped", stop=Asked(box, 7)))
    callbacks.train(box[0], None)
    assert box[0].state.global_step == 7
    assert [c.stopped for c in box[0].callback_handler.callbacks if hasattr(c, "stopped")] == [True]
    newest = checkpoints.newest_whole(tmp_path / "stopped")
    assert newest.name == "checkpoint-7"
    resumed = trainer(tmp_path / "stopped", stop=Never())
    callbacks.train(resumed, newest)
    assert resumed.state.global_step == 12
    for name, value in weights(straight).items():
        assert value.equal(weights(resumed)[name])


def test_asked_in_the_last_step_the_training_is_finished_not_stopped(tmp_path):
    from rlpipe.training import callbacks
    from tests.training.tiny_training import trainer

    box = []
    box.append(trainer(tmp_path, stop=Asked(box, 12)))
    callbacks.train(box[0], None)
    assert [c.stopped for c in box[0].callback_handler.callbacks if hasattr(c, "stopped")] == [False]


def test_two_ctrl_cs_in_a_real_training_end_it_at_once(tmp_path):
    from rlpipe.training import callbacks
    from tests.training.tiny_training import trainer

    with stop_requests(patience=0.0) as stop:
        made = trainer(tmp_path, stop=stop, save_steps=100, max_steps=100)

        class Press(callbacks.TrainerCallback):
            def on_substep_end(self, args, state, control, **_):
                if state.global_step == 3:
                    press()
                    press()

        made.add_callback(Press())
        with pytest.raises(KeyboardInterrupt):
            callbacks.train(made, None)
    assert checkpoints.newest_whole(tmp_path) is None


@pytest.mark.parametrize("number", SIGNALS)
def test_every_request_to_stop_is_one_at_once_or_noted(number):
    with stop_requests() as noted:
        press(number)
    assert noted.signal == number
    with pytest.raises(Interrupted), stop_requests(at_once=True):
        press(number)


def test_what_is_ignored_from_outside_stays_ignored():
    """`nohup` has the end of a terminal ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests(at_once=True) as stop:
            press(signal.SIGHUP)
            assert not stop.requested
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_request_during_what_must_not_be_broken_off_is_heeded_after_it():
    done = []

    def save() -> None:
        with stop_requests(at_once=True) as stop:
            with stop.deferred():
                press(signal.SIGTERM)
                done.append("saved")
            done.append("it went on")

    with pytest.raises(Interrupted):
        save()
    assert done == ["saved"]


def test_a_request_that_was_heeded_already_leaves_the_ending_alone():
    done = []
    with stop_requests(at_once=True) as stop:
        with pytest.raises(Interrupted):
            press(signal.SIGTERM)
        with stop.deferred():
            done.append("closed")
        press(signal.SIGTERM)
    assert done == ["closed"]


def test_a_request_that_was_swallowed_is_heard_again():
    with stop_requests(at_once=True):
        heed()
        try:
            press()
        except BaseException:
            done = "swallowed"
        assert done == "swallowed"
        with pytest.raises(Interrupted):
            heed()
    heed()
