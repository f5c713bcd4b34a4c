from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from rlpipe.config.compose import to_plain
from rlpipe.launchers.base import Hourly
from rlpipe.run.check.subject import Subject
from rlpipe.stages.data import data
from rlpipe.sweep import estimate, machine
from rlpipe.sweep.arms import Arm
from rlpipe.sweep.lengths import lengths
from rlpipe.sweep.plan import Plan, Planned, drawn, plan
from rlpipe.sweep.rehearse import Rehearsal
from tests.composed import compose
from tests.report.recorded import recorded

SMALL = ("dataset.sample_size=64", "model.stage=[]", "model.parameters=1000000", "evaluation=none")


def text(shown: Plan) -> str:
    console = Console(width=160)
    with console.capture() as captured:
        console.print(drawn(shown))
    return captured.get()


def arms(count: int, **planned: object) -> Plan:
    found = [Arm(i, (), None, None, Path("x"), fields={"seed": str(i), "text": "w" * 60}) for i in range(count)]  # type: ignore[arg-type]
    one = Planned(**{"steps": 10, "memory": None, "time": None, **planned})  # type: ignore[arg-type]
    return Plan(Rehearsal(found, []), dict.fromkeys(range(count), one), {}, [], 2, 0)


def test_long_lists_and_long_values_are_shortened() -> None:
    said = text(arms(200))
    rows = said.splitlines()
    assert len(rows) < 32
    assert "176 more" in said
    assert rows[1].split()[:2] == ["0", "0"]
    assert any(row.split()[:2] == ["199", "199"] for row in rows)
    assert "w" * 39 + "…" in said
    assert "w" * 41 not in said


def test_few_arms_are_all_shown() -> None:
    assert "more" not in text(arms(24))


def test_sums_are_said_where_all_parts_are_known() -> None:
    known = arms(3, time=estimate.Time(1200.0, "what was seen"))
    said = text(known)
    assert "steps: 30 over all runs" in said
    assert "about 1:00:00 for all jobs together, 2 at once (estimated: what was seen)" in said
    assert "GPU hours" not in said
    assert "GPU hours: about 2 (2 for each job)" in text(Plan(known.rehearsal, known.arms, {}, [], None, 2))
    for hourly, cost in (
        (Hourly(1.5, "gold"), "cost: about $1.50 for all jobs ($1.50 an hour of gold)"),
        (Hourly(None, "nobody knows"), "cost: nobody knows"),
    ):
        assert cost in text(Plan(known.rehearsal, known.arms, {}, [], None, 2, hourly=hourly))
    assert "cost" not in said
    bound = text(arms(3, time=estimate.Time(1200.0, "counted", bound=True)))
    assert "training time: up to 1:00:00 for all jobs together" in bound
    assert "about" not in bound
    untrained = Planned(0, None, None)
    assert "about 1:00:00" in text(Plan(known.rehearsal, {**known.arms, 3: untrained}, {}, [], 2, 0))
    unknown = text(arms(3, steps=None))
    assert "steps:" not in unknown
    assert "time:" not in unknown


def test_stages_to_build_and_to_reuse_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from rlpipe.stages import store
    from rlpipe.stages.store import plan as stages_of

    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path))
    config = compose("after=[method=sft,method.max_steps=3,after=[method=sft,method.max_steps=5]]", *SMALL)
    first, second = stages_of(config)
    monkeypatch.setattr(store, "is_built", lambda stage: stage.name == first.name)
    arm = Arm(0, (), None, None, tmp_path, config, {}, [first, second])  # type: ignore[arg-type]
    said = text(plan(Rehearsal([arm], []), tmp_path, 1, 0))
    assert f"to reuse: {first.name}" in said
    assert f"to build first: {second.name} (3 steps" in said
    assert "arms may end early" not in said
    pruning = text(plan(Rehearsal([arm], []), tmp_path, 1, 0, prunes=True))
    assert "steps: at most" in pruning
    assert "training time: up to" in pruning


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (("method=sft", "method.max_steps=7"), 7),
        (("method=sft", "method.batch_size=10", "method.epochs=2"), 14),  # the last of an epoch has 4 rows
        (("method=none",), 0),
        (("method=sft", "until=build"), 0),
        (("method=rloo", "dataset=countdown", "reward=countdown", "method.batch_size=16", "method.group_size=4"), 16),
        (("method=dpo", "until=check", "method.batch_size=32"), 2),
    ],
)
def test_planned_steps(overrides: tuple[str, ...], steps: int) -> None:
    assert estimate.steps(Subject(compose(*overrides, *SMALL))) == steps


@pytest.fixture(autouse=True)
def _speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core that multiplies 5·10¹⁰ numbers a second."""
    monkeypatch.setattr(machine, "operations", lambda store, rows, width, inner: 5e10)


def seconds(*overrides: str, steps: int = 100) -> float:
    found = estimate.time(Subject(compose(*overrides, *SMALL)), steps, {}, gpu=False)
    assert found is not None
    assert not found.bound
    return found.seconds


def test_a_step_is_counted_by_the_tokens_of_its_rows() -> None:
    config = compose("method=sft", "dataset=smoltalk", *SMALL)
    subject = Subject(config)
    tokens = lengths(subject, data(config).first).whole
    assert 20 < tokens < 120, "far below max_length"
    # 6 operations for each of 10⁶ weights and each token, at 0.6 of the matrix product's speed
    expected = 100 * 6e6 * config.method.batch_size * tokens / 3e10
    assert seconds("method=sft", "dataset=smoltalk") == pytest.approx(
        estimate.START["cpu"] + 64 * estimate.READING + expected
    )


def test_what_takes_longer_is_counted_so() -> None:
    dpo = seconds("method=dpo")
    assert seconds("method=dpo", "method.precompute_reference=false") > dpo, "a reference in every step"
    assert seconds("method=orpo") < dpo, "no reference"
    drawn = ("method=rloo", "dataset=countdown", "reward=countdown")
    assert seconds(*drawn, "method.sampling.max_tokens=256") > 1.5 * seconds(*drawn, "method.sampling.max_tokens=64")
    none = Subject(compose("model=blank", "method=none", "dataset=countdown", "dataset.sample_size=64"))
    only = estimate.time(none, 0, {}, gpu=False)
    assert only is not None
    assert only.seconds > estimate.START["cpu"], "evaluations take their time"


def test_rows_of_the_hub_are_taken_for_full_ones() -> None:
    found = estimate.time(Subject(compose("method=sft", *SMALL, "dataset.source=hub")), 10, {}, gpu=False)
    assert found is not None
    assert found.bound
    assert "full-length rows" in found.basis


def test_a_machine_is_measured_once_a_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(machine, "AT_LEAST", 1e-3)
    found = machine.operations(tmp_path, 64, 32, 32)
    assert found > 1e7
    monkeypatch.setattr(machine, "_measured", lambda *shape: 1.0)
    assert machine.operations(tmp_path, 64, 32, 32) == pytest.approx(found)
    assert machine.operations(tmp_path, 64, 32, 64) == 1.0
    (tmp_path / machine.NAME).write_text("[")
    assert machine.operations(tmp_path, 64, 32, 32) == 1.0, "a damaged file is measured again"
    assert machine.operations(tmp_path / "nowhere", 1, 1, 1) == 1.0


def test_a_finished_run_of_the_same_kind_tells_time_and_memory(tmp_path: Path) -> None:
    config = compose("method=sft", "method.max_steps=100", *SMALL)
    folder = recorded(tmp_path / "store" / "sft-x-1")
    (folder / "metrics.jsonl").unlink()
    for name, part in {
        "manifest": {"config": to_plain(config)},
        "result": {"cost": {"seconds": 50.0, "steps": 25, "peak_memory": 3e9}},
    }.items():
        file = folder / f"{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | part))
    earlier = estimate.pace(tmp_path / "store", tmp_path / "multirun")
    measured = estimate.time(Subject(config), 100, earlier, gpu=False)
    assert measured == estimate.Time(200.0, "earlier runs of the same method and model")
    assert estimate.time(Subject(config), 100, earlier, gpu=True) != measured
    assert estimate.memory(Subject(config), earlier, gpu=False) == estimate.Room(3 * 10**9, measured=True)
    counted = estimate.memory(Subject(config), {}, gpu=False)
    assert counted is not None
    assert not counted.measured
    assert "the tensors of a step" in text(arms(1, memory=counted))
    assert "measured in earlier runs" in text(arms(1, memory=estimate.Room(3 * 10**9, measured=True)))
    rows = [{"step": step, "time": 1000.0 + step} for step in (5, 15, 25)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    apart = estimate.time(Subject(config), 100, estimate.pace(tmp_path / "store", tmp_path / "multirun"), gpu=False)
    assert apart.seconds == pytest.approx(100 * 1.0 + 25.0), "a second a step, and 25 for what is done once"
    other = compose("method=sft", "method.batch_size=2", *SMALL)
    assert estimate.time(Subject(other), 100, earlier, gpu=False).basis != measured.basis


def test_damaged_and_foreign_records_are_passed_over(tmp_path: Path) -> None:
    for name, text in (("a", "{"), ("b", "{}"), ("c", '{"config": {"method": {}}, "attempts": [{"hardware": {}}]}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(text)
        (tmp_path / name / "result.json").write_text('{"cost": {"seconds": 1, "steps": 1}}')
    assert estimate.pace(tmp_path, tmp_path / "none") == {}


def test_what_is_not_known_is_not_made_up() -> None:
    config = compose("method=sft", "model=hf", "dataset.source=sample", "dataset.sample_size=64")
    assert estimate.time(Subject(config), None, {}, gpu=False) is None
    assert estimate.time(Subject(config), 5, {}, gpu=False) is None
