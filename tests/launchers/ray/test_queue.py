"""Which jobs Ray is handed, when, and what becomes of those that it loses."""

from __future__ import annotations

import pytest

from rlpipe.core.errors import LaunchError
from rlpipe.launchers.base import Phase
from rlpipe.launchers.ray.queue import DIED, GAVE_UP
from rlpipe.records.sweep import Ended


def test_arms_are_handed_over_when_their_stage_is_done(make):
    made = make()
    made.launcher.submit(made.sweep.jobs)
    assert made.cluster.submitted == [made.id("sft"), made.id("2")]
    seen = made.look()
    assert [(seen[key].phase, seen[key].reason) for key in ("0", "sft")] == [
        (Phase.queued, "waits for sft"),
        (Phase.queued, "waits for resources of the cluster"),
    ]
    made.cluster.becomes(made.id("sft"), "RUNNING", place="10.0.0.7")
    assert (made.look()["sft"].phase, made.look()["sft"].place) == (Phase.running, "10.0.0.7")
    made.tell("sft", Ended.ok)
    made.cluster.becomes(made.id("sft"), "SUCCEEDED", exit_code=0)
    made.look()
    assert made.cluster.submitted == [made.id(key) for key in ("sft", "2", "0", "1")]


def test_who_waits_for_a_stage_that_has_stopped_is_hopeless_until_it_goes_on(make):
    made = make()
    made.launcher.submit(made.sweep.jobs)
    made.tell("sft", Ended.stopped, "stopped after step 3")
    assert not made.look()["0"].hopeless, "it may yet be queued again"
    made.cluster.becomes(made.id("sft"), "FAILED", exit_code=75)
    assert (made.look()["0"].reason, made.look()["0"].hopeless) == ("waits for sft, which has stopped", True)
    made.launcher.submit([made.jobs["sft"]])
    assert not made.look()["0"].hopeless


def test_what_a_failed_stage_was_needed_for_is_cancelled_with_the_reason(make):
    made = make()
    made.launcher.submit(made.sweep.jobs)
    made.tell("sft", Ended.failed, "DataError: no rows")
    made.look()
    assert made.ended("0") == ("cancelled", "stage sft, which it needs, failed: DataError: no rows")
    assert made.cluster.submitted == [made.id("sft"), made.id("2")]


def test_who_is_killed_between_note_and_submission_loses_nothing_and_nothing_comes_twice(make):
    made = make()
    made.launcher.queue.note(made.sweep.jobs)  # and killed here
    first, second = made.another(), made.another()
    first.statuses(made.sweep.jobs)
    second.queue._known = {}  # it has looked before the first one handed anything over
    second.queue._hand_over()
    assert made.cluster.submitted == [made.id("sft"), made.id("2")]


def test_a_job_that_is_submitted_again_is_another_one_to_ray(make):
    made = make()
    made.launcher.submit([made.jobs["2"]])
    first = made.id("2")
    made.tell("2", Ended.failed)
    made.launcher.submit([made.jobs["2"]])
    assert made.cluster.submitted == [first, made.id("2")]
    assert first != made.id("2")


def test_no_more_arms_at_once_than_the_throttle_allows(make):
    made = make(throttle=1)
    made.launcher.submit([made.jobs["sft"]])
    made.tell("sft", Ended.ok)
    made.launcher.submit([made.jobs[key] for key in "012"])
    assert made.cluster.submitted[1:] == [made.id("0")]
    assert made.look()["1"].reason == "waits for its turn"
    made.tell("0", Ended.ok)
    made.cluster.becomes(made.id("0"), "SUCCEEDED", exit_code=0)
    made.look()
    assert made.cluster.submitted[1:] == [made.id("0"), made.id("1")]


def test_a_job_that_ray_gave_up_waiting_for_is_handed_over_anew(make):
    made = make()
    made.launcher.submit([made.jobs["2"]])
    made.cluster.becomes(made.id("2"), "FAILED", error=GAVE_UP, message="failed to start within 900 seconds")
    assert made.look()["2"].phase is Phase.queued
    assert made.cluster.submitted == [made.id("2")] * 2


def test_a_lost_node_gives_its_job_to_another_but_not_for_ever(make):
    made = make(requeues=1)
    made.launcher.submit([made.jobs["2"]])
    made.tell("2", Ended.running)
    made.cluster.becomes(made.id("2"), "FAILED", error=DIED, message="Job supervisor actor died: its node is gone")
    assert made.look()["2"].phase is Phase.queued
    assert made.cluster.submitted[1:] == [made.id("2", ".1")]
    made.cluster.becomes(made.id("2", ".1"), "FAILED", error=DIED, message="Job supervisor actor died: again")
    assert made.look()["2"].phase is Phase.gone
    assert made.ended("2") == ("failed", "JOB_SUPERVISOR_ACTOR_DIED: Job supervisor actor died: again")


def test_a_head_that_was_started_anew_has_lost_what_ran_and_gets_what_waited(make):
    made = make()
    made.launcher.submit([made.jobs["sft"], made.jobs["2"]])
    made.tell("2", Ended.running)
    made.cluster.known.clear()
    assert made.look()["2"].phase is Phase.gone
    assert made.ended("2") == ("failed", "Ray does not know it any more: was its head started anew?")
    assert made.cluster.submitted == [made.id("sft"), made.id("2"), made.id("sft")]


def test_a_cluster_that_falls_silent_is_said_and_one_that_never_spoke_is_refused(make):
    made = make()
    made.launcher.submit([made.jobs["2"]])
    made.cluster.becomes(made.id("2"), "RUNNING")
    made.look()
    made.cluster.answers = False
    seen = made.look(40)["2"]
    assert (seen.phase, seen.reason) == (Phase.running, "Ray has not answered for 80 s")
    with pytest.raises(LaunchError, match="does not answer"):
        made.another().statuses(made.sweep.jobs)
    before = made.sweep.submissions
    with pytest.raises(LaunchError, match="does not answer"):
        made.launcher.submit([made.jobs["0"]])
    assert made.sweep.submissions == before


def test_what_is_over_is_looked_at_when_its_cluster_is_gone(make):
    made = make()
    made.launcher.submit([made.jobs["2"]])
    made.tell("2", Ended.ok)
    made.cluster.answers = False
    assert made.another().statuses(made.sweep.jobs)["2"].phase is Phase.gone


@pytest.mark.parametrize(
    ("before", "seen", "after"),
    [
        (Ended.stopped, {"status": "STOPPED"}, ("cancelled", "cancelled (ray job stop)")),
        (Ended.stopped, {"status": "FAILED", "exit_code": 75}, ("stopped", None)),
        (Ended.stopped, {"status": "FAILED", "exit_code": 2}, ("failed", "exit 2; a last line")),
        (Ended.running, {"status": "STOPPED"}, ("cancelled", "cancelled (ray job stop)")),
        (Ended.running, {"status": "FAILED", "exit_code": 137}, ("failed", "exit 137; a last line")),
        (Ended.ok, {"status": "STOPPED"}, ("ok", None)),
        (Ended.pruned, {"status": "STOPPED"}, ("pruned", None)),
        (Ended.failed, {"status": "STOPPED"}, ("failed", None)),
    ],
)
def test_the_verdict_depends_on_what_was_known(make, before, seen, after):
    made = make()
    made.launcher.submit([made.jobs["2"]])
    (made.sweep.job_folder(made.jobs["2"]) / "log.txt").write_text("a line\na last line\n")
    made.tell("2", before)
    made.cluster.becomes(made.id("2"), **seen)
    made.look()
    assert made.ended("2") == after


def test_last_words_come_from_ray_where_no_log_was_opened(make):
    made = make()
    made.launcher.submit([made.jobs["2"]])
    made.cluster.becomes(made.id("2"), "FAILED", exit_code=66, message="logs:\n/s is not on this node: …\n")
    made.look()
    assert made.ended("2") == ("failed", "exit 66; /s is not on this node: …")


def test_a_job_is_queued_again_as_often_as_it_may_be(make):
    made = make(requeues=2)
    made.launcher.submit([made.jobs["2"]])
    assert [made.launcher.queue.again(made.jobs["2"]) for _ in range(3)] == [
        "queued again",
        "queued again",
        "not queued again: that was done 2 times already (hydra.launcher.requeues)",
    ]
    assert made.cluster.submitted == [made.id("2"), made.id("2", ".1"), made.id("2", ".2")]
    made.cluster.answers = False
    assert made.launcher.queue.again(made.jobs["2"]).startswith("not queued again: Ray: does not answer")


def test_cancelling_ends_what_runs_and_keeps_from_beginning_what_waits(make):
    made = make()
    made.launcher.submit(made.sweep.jobs)
    made.cluster.becomes(made.id("2"), "RUNNING")
    made.tell("2", Ended.stopped)  # as its task writes when it is asked to stop
    made.launcher.cancel(made.sweep.jobs)
    assert {made.ended(key) for key in made.jobs} == {("cancelled", "cancelled by hand")}
    assert made.cluster.stopped == [made.id("sft"), made.id("2")]
    assert {one.phase for one in made.look().values()} == {Phase.gone}
    assert made.cluster.submitted == [made.id("sft"), made.id("2")]


def test_a_job_that_queues_itself_again_while_it_is_cancelled_is_cancelled(make):
    made = make()
    made.launcher.submit([made.jobs["2"]])
    made.cluster.becomes(made.id("2"), "RUNNING")
    made.tell("2", Ended.stopped)
    made.cluster.stop = lambda job_id: (  # its time limit came just then
        made.cluster.becomes(job_id, "FAILED", exit_code=75),
        made.cluster.submit(made.id("2", ".1")),
    )
    made.launcher.cancel([made.jobs["2"]])
    assert made.ended("2") == ("cancelled", "cancelled by hand")
