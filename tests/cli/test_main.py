"""The command line as a person meets it: what it prints, what it returns, what it runs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlpipe.cli import exits
from rlpipe.cli import main as cli
from rlpipe.cli.arguments import STORY, parse
from rlpipe.config.options import options
from rlpipe.core.errors import DataError, Stopped
from rlpipe.run import run
from rlpipe.stages.lineage import start_parent

Calls = list[tuple[object, list[str]]]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run in an empty folder, without what Hydra does to logging outliving the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What the command line would have run."""
    calls: Calls = []
    monkeypatch.setattr(run, "run", lambda config, overrides: calls.append((config, overrides)))
    return calls


def refused(capsys: pytest.CaptureFixture, *argv: str) -> str:
    """Return the message of a command line that must be refused without a traceback."""
    assert cli.status(argv) == exits.FIXABLE
    message = capsys.readouterr().err
    assert message.startswith("rlpipe: 1 problem found")
    assert "Traceback" not in message
    assert "HYDRA_FULL_ERROR=1 for" not in message
    return message


def ended(argv: list[str]) -> object:
    """Return the exit code, whether the command line returns it or leaves with it."""
    try:
        return cli.status(argv)
    except SystemExit as leaving:
        return leaving.code


MISTAKES = [
    ("method=dpoo", "method=dpoo", ["no option 'dpoo' in the group 'method'", "did you mean 'dpo'?", "kto"]),
    ("after=sftt", "after=sftt", ["did you mean 'sft'?"]),
    ("metod=dpo", "metod=dpo", ["no field or group 'metod'", "did you mean method?"]),
    ("method.lerning_rate=1", "method.lerning_rate=1", ["did you mean method.learning_rate?", "batch_size"]),
    ("+method.foo=1", "method.foo", ["no field takes this key"]),
    ("method.batch_size=abc", "method.batch_size=abc", ["could not be converted", "takes int", "Examples per"]),
    ("method", "method", ["lacks '='", "method=OPTION", "dapo, distill, dpo, dr_grpo"]),
    ("dpo", "dpo", ["did you mean method=dpo or after=dpo?"]),
    ("foo", "foo", ["write name=value"]),
    ("seed=[1", "seed=[1", ["cannot be read"]),
    ("method=3", "method", ["must be a string"]),
    ("dataset.source=${foo}", "dataset.source", ["foo"]),
]
MORE_MISTAKES = [
    ("reward=[length,lengh]", "reward=lengh", ["did you mean 'length'?"]),
    ("lerning_rate=1", "lerning_rate=1", ["did you mean method.learning_rate?"]),
    ("method.lora.rank=3", "method.lora.rank=3", ["did you mean model.lora.rank?"]),
    ("reward.length.words=3", "reward.length.words=3", ["choose the option that has it first (reward=…)"]),
    ("method.extra.foo=1", "method.extra.foo=1", ["+method.extra.foo=1"]),
    ("seed=null", "seed=null", ["takes int"]),
    ("model.lora=3", "model.lora=3", ["model.lora.rank"]),
    ("method.overlong=drp", "method.overlong=drp", ["did you mean 'drop'?", "truncate"]),
    ("until=chek", "until=chek", ["did you mean 'check'?"]),
]


@pytest.mark.parametrize(
    ("argument", "where", "fragments"),
    [*MISTAKES, *(pytest.param(*mistake, marks=pytest.mark.slow) for mistake in MORE_MISTAKES)],
)
def test_a_mistake_is_named_with_what_was_meant(runs, capsys, argument, where, fragments):
    message = refused(capsys, argument)
    assert f"1. {where}" in message or argument == "method=3"
    for fragment in fragments:
        assert fragment in message
    assert runs == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "fragments"),
    [
        (["-m", "method=dpo,kti"], ["method=kti", "did you mean 'kto'?"]),
        (["-m", "method=dpo,kto", "method.lerning_rate=1"], ["did you mean method.learning_rate?"]),
        (["-m", "seed=0,1", "method"], ["method=OPTION"]),
        (["-m", "seed=0,x"], ["seed=x (arm 1 of 2)", "could not be converted"]),
    ],
)
def test_a_mistake_in_a_sweep_stops_it_before_the_first_arm(runs, capsys, argv, fragments):
    message = refused(capsys, *argv)
    for fragment in fragments:
        assert fragment in message
    assert runs == []


def test_the_users_own_setting_still_shows_tracebacks(capsys, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert cli.status(["method=dpoo"]) == exits.FIXABLE
    assert "Traceback" in capsys.readouterr().err


def test_a_run_gets_its_typed_config_and_the_overrides(runs):
    assert cli.status(["method=kto", "seed=3"]) == exits.DONE
    [(config, overrides)] = runs
    assert (config.method.name, config.seed) == ("kto", 3)
    assert overrides == ["method=kto", "seed=3"]


@pytest.mark.slow
def test_flags_may_stand_anywhere(runs):
    assert cli.status(["method=dpo,kto", "-m", "seed=0,1", "hydra/launcher=basic"]) == exits.DONE
    assert [(config.method.name, config.seed) for config, _ in runs] == [("dpo", 0), ("dpo", 1), ("kto", 0), ("kto", 1)]


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(config, overrides):
        assert "HYDRA_FULL_ERROR" not in os.environ
        raise error

    monkeypatch.setattr(run, "run", fail)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("rows.jsonl, row 3", "not JSON", ""), exits.FIXABLE, "rlpipe: rows.jsonl, row 3: not JSON\n"),
        (
            Stopped("", "stopped; go on with the same command", ""),
            exits.STOPPED,
            "rlpipe: stopped; go on with the same command\n",
        ),
        (KeyboardInterrupt(), exits.INTERRUPTED, "rlpipe: interrupted\n"),
    ],
)
def test_the_exit_code_says_how_a_run_ended(monkeypatch, capsys, error, code, message):
    failing(monkeypatch, error)
    assert ended([]) == code
    assert capsys.readouterr().err == message
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_a_bug_keeps_its_traceback(monkeypatch):
    failing(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli.status([])


def test_a_stop_ends_a_sweep(monkeypatch):
    ran = []

    def stop(config, overrides):
        ran.append(config.seed)
        raise Stopped("", "stopped", "")

    monkeypatch.setattr(run, "run", stop)
    with pytest.raises(SystemExit) as leaving:
        cli.status(["-m", "seed=0,1,2", "hydra/launcher=basic"])
    assert leaving.value.code == exits.STOPPED
    assert ran == [0]


# -- a user's own options


def option(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


MINE = "# Mine.\ndefaults:\n  - /schema/method/dpo@_here_\n  - _self_\nbeta: 0.75\n"


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--config-dir", "-cd", "--config-path", "-cp"])
def test_a_folder_adds_options(runs, capsys, tmp_path, flag):
    option(tmp_path / "own", "method/mine", MINE)
    assert cli.status([flag, "own", "method=mine"]) == exits.DONE, capsys.readouterr().err
    assert runs[0][0].method.beta == 0.75


def test_hydras_searchpath_adds_options(runs, tmp_path):
    option(tmp_path / "own", "method/mine", MINE)
    assert cli.status([f"hydra.searchpath=[file://{tmp_path}/own]", "method=mine"]) == exits.DONE
    assert runs[0][0].method.beta == 0.75


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--config-dir={}", "--config-path={}", "hydra.searchpath=[file://{}]"])
def test_the_runs_before_know_a_users_options_too(monkeypatch, tmp_path, flag):
    option(tmp_path / "own", "method/mine", MINE)
    betas = []
    monkeypatch.setattr(run, "run", lambda config, overrides: betas.append(start_parent(config).method.beta))
    assert cli.status([flag.format(tmp_path / "own"), "model=blank", "after=[method=mine]"]) == exits.DONE
    assert betas == [0.75]


def test_config_path_may_replace_a_built_in_option(runs, tmp_path):
    option(tmp_path / "own", "method/dpo", MINE)
    assert cli.status(["--config-path", "own", "method=dpo"]) == exits.DONE
    assert runs[0][0].method.beta == 0.75


@pytest.mark.parametrize("name", ["method/dpo", "config"])
@pytest.mark.parametrize("flag", ["--config-dir={}", "hydra.searchpath=[{}]", "hydra.searchpath=[file://{}]"])
def test_an_option_that_hydra_would_ignore_is_refused(runs, capsys, tmp_path, flag, name):
    file = option(tmp_path / "own", name, MINE)
    message = refused(capsys, flag.format(tmp_path / "own"))
    assert str(file) in message
    assert f"conf/{name}.yaml" in message
    assert f"--config-path {tmp_path / 'own'}" in message
    assert runs == []


@pytest.mark.slow
def test_a_mistake_beside_own_options_knows_them(runs, capsys, tmp_path):
    option(tmp_path / "own", "method/mine", MINE)
    assert "did you mean 'mine'?" in refused(capsys, "-cd", "own", "method=mime")
    assert "did you mean method.beta?" in refused(capsys, "-cd", "own", "method=mine", "method.betta=1")


@pytest.mark.parametrize("flag", ["--config-dir", "--config-path"])
def test_a_folder_that_is_not_there_is_named(capsys, tmp_path, flag):
    assert f"there is no folder {tmp_path / 'nowhere'}" in refused(capsys, flag, "nowhere")


# -- looking without running


def test_cfg_prints_the_config_or_a_part_of_it(runs, capsys):
    assert cli.status(["--cfg", "job"]) == exits.DONE
    assert "source: ${model.dataset_source}" in capsys.readouterr().out
    assert cli.status(["seed=1", "--cfg", "job", "--resolve", "-p", "dataset"]) == exits.DONE
    printed = capsys.readouterr().out
    assert "source: sample" in printed
    assert "learning_rate" not in printed
    assert runs == []


@pytest.mark.slow
@pytest.mark.parametrize("argv", [["--info", "searchpath"], ["--hydra-help"], ["--info", "defaults"]])
def test_hydras_own_looks_go_on_working(capsys, argv):
    assert ended(argv) == exits.DONE
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("argv", [["--bogus"], ["--resolve"], ["--cfg", "job", "-m"], ["--cfg", "jobb"]])
def test_wrong_flags_are_refused(capsys, argv):
    with pytest.raises(SystemExit) as leaving:
        cli.status(argv)
    assert leaving.value.code == 2
    assert "rlpipe: error:" in capsys.readouterr().err


def test_help_names_every_option_with_its_line(runs, capsys):
    assert cli.status(["--help"]) == exits.DONE
    text = capsys.readouterr().out
    for group, known in options().items():
        assert f"\n  {group}: " in text
        for one in known.values():
            assert f"    {one.name} " in text
            assert one.description, f"{group}={one.name} has no line of help: begin {one.origin} with a comment"
            assert one.description.split()[0] in text
    assert "rlpipe -sc install=bash" in text
    assert "hardware.device" in text
    assert runs == []


def test_help_of_choices_shows_their_fields(capsys):
    assert cli.status(["method=kto", "--help"]) == exits.DONE
    text = capsys.readouterr().out
    assert "method.desirable_weight: float = 1.0\n      Weight of good completions." in text
    assert "method.batch_size: int = 32\n      Examples per optimiser step" in text, "inherited fields are shown too"
    assert "method.overlong: Overlong = drop" in text
    assert "      drop" in text


def test_help_counts_own_folders_in(capsys, tmp_path):
    option(tmp_path / "own", "method/mine", MINE)
    option(tmp_path / "own", "flavour/sweet", "# Sugar.\n")
    assert cli.status(["-cd", "own", "-h"]) == exits.DONE
    text = capsys.readouterr().out
    assert "mine " in text
    assert "Mine." in text
    assert "flavour: your own" in text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rlpipe meth", ["method=", "method."]),
        ("rlpipe method=", ["method=dpo", "method=kto", "method=sft"]),
        ("rlpipe method.le", ["method.learning_rate="]),
        ("rlpipe method=kto method.des", ["method.desirable_weight="]),
        ("rlpipe model.lora.r", ["model.lora.rank="]),
    ],
)
def test_tab_completes_groups_options_and_fields(capsys, monkeypatch, line, expected):
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert cli.status(["-sc", "query=bash"]) == exits.DONE
    assert set(expected) <= set(capsys.readouterr().out.split())


@pytest.mark.slow
def test_looking_imports_nothing_heavy(tmp_path):
    program = (
        "import sys; from rlpipe.cli import main; code = main.status(sys.argv[1:]);"
        "from rlpipe.testing import HEAVY; print([name for name in HEAVY if name in sys.modules]); sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    for argv in (["--cfg", "job"], ["--help"], ["model=blank", "until=check"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *argv], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_reader_that_stops_reading_is_no_error():
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m rlpipe --help | true"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("argv", "chosen"),
    [
        ([], True),
        (["seed=1", "model=blank", "-m"], True),
        (["method=dpo"], False),
        (["dataset.sample_size=9"], False),
        (["experiment=chat_dpo"], False),
        (["--help"], False),
    ],
)
def test_a_command_line_that_chooses_nothing_tells_the_whole_story(argv, chosen):
    assert (STORY in parse(argv).overrides) is chosen


def test_a_recipe_that_overrides_the_run_before_is_told_how_to_name_it(capsys, tmp_path):
    (tmp_path / "experiment").mkdir()
    body = "# @package _global_\n# Mine.\ndefaults:\n  - override /method: dpo\n  - override /after: sft\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(body)
    assert "- /after@_global_: OPTION" in refused(capsys, f"--config-dir={tmp_path}", "experiment=mine")
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\ndefaults:\n  - /after@_global_: sft\n")
    assert ended(["--config-dir", str(tmp_path), "experiment=mine", "--cfg", "job"]) == exits.DONE
    assert "after:\n- method=sft\n" in capsys.readouterr().out


def test_a_study_is_no_single_run(runs, capsys):
    message = refused(capsys, "experiment=study_piqa")
    assert "is a study of several arms (experiment=piqa_base,piqa_sft" in message
    assert "run it with -m" in message
    assert runs == []
