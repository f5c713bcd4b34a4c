"""What is made of the answers of squeue, sacct and scontrol; the answers are what a real SLURM 22.05 printed."""

from __future__ import annotations

import pytest

from rlpipe.launchers.base import NoAnswer, Phase, Refused
from rlpipe.launchers.slurm import queue
from rlpipe.launchers.slurm.command import refusal
from rlpipe.launchers.slurm.queue import Queue, accounted, tasks

SACCT = """\
2_0|COMPLETED|0:0|n1
2_0.batch|COMPLETED|0:0|n1
2_0.0|COMPLETED|0:0|n1
2_1|FAILED|1:0|n1
2_1.batch|FAILED|1:0|n1
2_1.0|OUT_OF_MEMORY|0:125|n1
2_2|CANCELLED by 1000|0:15|n2
2_3|FAILED|139:0|n2
2_4|FAILED|0:9|n2
2_5|TIMEOUT|0:0|n2
2_6|NODE_FAIL|0:0|n2
"""


DOWN = (
    "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to host:127.0.0.1:22148: "
    "Connection refused\nsacct: error: Sending PersistInit msg: Connection refused\n"
    "sacct: error: Problem talking to the database: Connection refused"
)
"""What sacct says where slurmdbd is down."""


class Slurm:
    """Answers in SLURM's place, and a clock."""

    def __init__(self):
        self.squeue, self.sacct, self.jobs = "", None, {}
        self.asked, self.now = [], 0.0

    def __call__(self, *command):
        self.asked.append(command[0])
        if command[0] == "squeue":
            if self.squeue is None:
                raise NoAnswer("", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)", "")
            return self.squeue
        if command[0] == "sacct":
            if self.sacct is None:
                raise Refused("", "Slurm accounting storage is disabled", "")
            if self.sacct == DOWN:
                raise refusal(DOWN)
            return self.sacct
        array = command[-1]
        if array not in self.jobs:
            raise Refused("", "slurm_load_jobs error: Invalid job id specified", "")
        return self.jobs[array]


@pytest.fixture
def slurm(monkeypatch):
    made = Slurm()
    monkeypatch.setattr(queue, "ask", made)
    return made


@pytest.fixture
def asking(slurm):
    return Queue(poll=5, clock=lambda: slurm.now)


def test_living_jobs_are_shown_with_the_reason_why_they_wait(slurm, asking):
    slurm.squeue = (
        "3_0|RUNNING|None|n1\n3_1|PENDING|Priority|\n3_2|PENDING|PartitionTimeLimit|\n3_3|COMPLETING|None|n2\n"
    )
    seen = asking.look(["3_0", "3_1", "3_2", "3_3"])
    assert [(one.phase, one.reason, one.place, one.hopeless) for one in seen.values()] == [
        (Phase.running, None, "n1", False),
        (Phase.queued, "Priority", None, False),
        (Phase.queued, "PartitionTimeLimit", None, True),
        (Phase.running, None, "n2", False),
    ]


@pytest.mark.parametrize(
    "reason",
    [
        *("PartitionConfig", "DependencyNeverSatisfied", "BadConstraints", "QOSMaxWallDurationPerJobLimit"),
        *("AssocMaxCpuPerJobLimit", "launch failed requeued held", "JobHeldUser", "InvalidAccount"),
    ],
)
def test_what_never_comes_is_hopeless(slurm, asking, reason):
    slurm.squeue = f"3_0|PENDING|{reason}|\n"
    assert asking.look(["3_0"])["3_0"].hopeless


@pytest.mark.parametrize("reason", ["ReqNodeNotAvail, UnavailableNodes:n1", "AssocGrpGRESMinutes", "QOSGrpCpuLimit"])
def test_what_seldom_passes_is_hopeless_after_a_while(slurm, asking, reason):
    slurm.squeue = f"3_0|PENDING|{reason}|\n"
    assert not asking.look(["3_0"])["3_0"].hopeless
    slurm.now = 700
    assert asking.look(["3_0"])["3_0"].hopeless


@pytest.mark.parametrize("reason", ["Priority", "Resources", "Dependency", "BeginTime", "JobArrayTaskLimit", ""])
def test_what_passes_is_not(slurm, asking, reason):
    slurm.squeue = f"3_0|PENDING|{reason}|\n"
    asking.look(["3_0"])
    slurm.now = 1e6
    assert not asking.look(["3_0"])["3_0"].hopeless


def test_the_dead_end_as_accounting_says_and_steps_speak_for_memory(slurm, asking):
    slurm.sacct = SACCT
    ids = [f"2_{task}" for task in range(7)]
    seen = asking.look(ids)
    assert {one: seen[one].reason for one in ids[:6]} == {
        "2_0": "COMPLETED",
        "2_1": "OUT_OF_MEMORY",
        "2_2": "CANCELLED",
        "2_3": "FAILED (exit 139, SIGSEGV)",
        "2_4": "FAILED (SIGKILL)",
        "2_5": "TIMEOUT",
    }
    assert all(seen[one].phase is Phase.gone for one in ids[:6])


def test_a_node_that_failed_is_waited_for_because_its_jobs_are_queued_again(slurm, asking):
    slurm.sacct = SACCT
    assert asking.look(["2_6"])["2_6"].phase is Phase.running
    slurm.now = 10
    slurm.squeue = "2_6|PENDING|BeginTime|\n"
    assert asking.look(["2_6"])["2_6"].phase is Phase.queued
    slurm.now, slurm.squeue = 20, ""
    assert asking.look(["2_6"])["2_6"].phase is Phase.running
    slurm.now = 90
    assert asking.look(["2_6"])["2_6"].phase is Phase.gone


def test_squeue_wins_over_accounting_which_lags(slurm, asking):
    slurm.sacct, slurm.squeue = SACCT, "2_3|RUNNING|None|n1\n"
    assert asking.look(["2_3"])["2_3"].phase is Phase.running


def test_without_accounting_the_controller_is_asked_and_accounting_only_once(slurm, asking):
    slurm.jobs["4"] = (
        "JobId=6 ArrayJobId=4 ArrayTaskId=1 JobState=FAILED Reason=NonZeroExitCode ExitCode=137:0 NodeList=n1\n"
        "JobId=4 ArrayJobId=4 ArrayTaskId=2 JobState=CANCELLED Reason=None ExitCode=0:15 NodeList=(null)\n"
    )
    seen = asking.look(["4_1", "4_2", "9_0"])
    assert [seen[one].reason for one in ("4_1", "4_2", "9_0")] == [
        "FAILED (exit 137, SIGKILL)",
        "CANCELLED",
        "forgotten by SLURM",
    ]
    slurm.now = 10
    asking.look(["4_1", "4_2", "9_0"])
    assert slurm.asked.count("sacct") == 1


def test_while_the_database_is_down_the_controller_is_asked_and_nobody_counts_as_forgotten(slurm, asking):
    slurm.sacct = DOWN
    slurm.jobs["4"] = "JobId=4 ArrayJobId=4 ArrayTaskId=1 JobState=COMPLETED Reason=None ExitCode=0:0 NodeList=n1\n"
    assert asking.look(["4_1"])["4_1"].reason == "COMPLETED"
    with pytest.raises(NoAnswer, match="talking to the database") as unanswered:
        asking.look(["4_1", "9_0"])
    assert "slurmdbd" in unanswered.value.fix
    slurm.now, slurm.sacct = 10, "9_0|TIMEOUT|0:0|n1\n"
    assert asking.look(["4_1", "9_0"])["9_0"].reason == "TIMEOUT"


def test_slurm_is_not_asked_more_often_than_it_may_be(slurm, asking):
    slurm.squeue = "3_0|RUNNING|None|n1\n"
    for slurm.now in (0, 1, 2, 3, 4, 5, 6):
        asking.look(["3_0"])
    assert slurm.asked.count("squeue") == 2


def test_without_an_answer_the_last_one_stands(slurm, asking):
    slurm.squeue = "3_0|RUNNING|None|n1\n"
    before = asking.look(["3_0"])
    slurm.squeue, slurm.now = None, 10
    assert asking.look(["3_0"]) == before
    with pytest.raises(NoAnswer, match="Unable to contact"):
        asking.look(["3_0", "3_1"])


def test_a_row_without_the_task_s_number_is_nobody_s():
    assert "1_0" not in accounted("1|REQUEUED|0:0|n1\n")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("13", ["13"]),
        ("13_2", ["13_2"]),
        ("13_[0-2%1]", ["13_0", "13_1", "13_2"]),
        ("13_[0-2]", ["13_0", "13_1", "13_2"]),
        ("13_[4]", ["13_4"]),
        ("13_[1,3,5-6]", ["13_1", "13_3", "13_5", "13_6"]),
        ("13_[0-10:5%2]", ["13_0", "13_5", "13_10"]),
        ("13_[0-1,...]", ["13_0", "13_1"]),
        ("13_[0-1,...", ["13_0", "13_1"]),
        ("13+1", ["13+1"]),
    ],
)
def test_an_array_s_jobs_that_are_written_as_one(written, meant):
    assert tasks(written) == meant


def test_sacct_and_scontrol_tell_of_jobs_that_never_began_as_one(monkeypatch):
    told = "12_0|FAILED|0:9|node1\n13_[0-2%1]|CANCELLED by 0|0:0|None assigned\n"
    assert {one.place for one in accounted(told).values()} == {"node1", ""}
    assert {job: one.state for job, one in accounted(told).items()} == {
        "12_0": "FAILED",
        **{f"13_{task}": "CANCELLED" for task in range(3)},
    }
    line = (
        "JobId=13 ArrayJobId=13 ArrayTaskId=0-2%1 JobState=CANCELLED Reason=DependencyNeverSatisfied NodeList=(null)\n"
    )
    monkeypatch.setattr(queue, "ask", lambda *command: line)
    assert set(queue.remembered(["13_0", "13_1"])) == {"13_0", "13_1", "13_2"}
