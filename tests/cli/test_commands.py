"""The commands of `rlpipe`: how they are found, what their help says, and what a mistyped one is told."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rlpipe.cli import exits
from rlpipe.cli import main as cli
from rlpipe.cli.commands import COMMANDS, load
from rlpipe.testing import HEAVY


def pages(name: str) -> Iterator[tuple[list[str], argparse.ArgumentParser]]:
    """Yield the parser of a command and those of what it can be asked for, each with the words that lead there."""
    parser = load(name).parser()
    yield [name], parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            before = ["DIR"] if name == "sweep" else []
            yield from (([name, *before, word], chosen) for word, chosen in action.choices.items())


PAGES = [pytest.param(words, parser, id=" ".join(words)) for name in COMMANDS for words, parser in pages(name)]


@pytest.mark.parametrize(("words", "parser"), PAGES)
def test_help_explains_itself(words, parser, capsys):
    with pytest.raises(SystemExit) as left:
        cli.status([*words, "--help"])
    assert left.value.code == exits.DONE
    text = capsys.readouterr().out
    assert text.startswith(f"usage: rlpipe {' '.join(words)}")
    assert parser.description in text
    assert "Exit codes: 0 " in text
    for action in parser._actions:
        assert action.help or isinstance(action, argparse._SubParsersAction), f"{action.dest} is not explained"


@pytest.mark.parametrize(("words", "parser"), PAGES)
def test_the_examples_of_help_are_understood(words, parser):
    examples = re.findall(r"^  (rlpipe .+?)(?:  .+)?$", parser.epilog, flags=re.MULTILINE)
    assert examples
    for example in examples:
        line = example.partition(" < ")[0]
        _, name, *arguments = shlex.split(line)
        assert name == words[0]
        if "--help" not in arguments:
            load(name).parser().parse_args(arguments)


def test_the_overview_has_a_line_for_each(capsys):
    assert cli.status(["--help"]) == exits.DONE
    text = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} {re.escape(command.arguments)} +{re.escape(command.line)}$", text, re.MULTILINE)
    assert text.index("rlpipe COMMAND") < text.index("rlpipe [flags]") < text.index("groups (group=option)")


@pytest.mark.parametrize(
    ("argv", "fragments"),
    [
        (["swep", "DIR"], ["1. swep: there is no command", "did you mean 'sweep'?"]),
        (["reprot", "DIR", "--baseline", "before"], ["did you mean 'report'?", "method=dpo"]),
        (["method=dpo", "sweep"], ["1. sweep: a command is the first word", "rlpipe sweep DIR"]),
        (["--help", "stages"], ["rlpipe stages --help"]),
        (["resume", "DIR"], ["1. resume: lacks '='", "commands: rlpipe --help"]),
    ],
)
def test_a_mistyped_command_is_told_what_was_meant(capsys, argv, fragments):
    assert cli.status(argv) == exits.FIXABLE
    message = capsys.readouterr().err
    assert message.startswith("rlpipe: 1 problem found")
    for fragment in fragments:
        assert fragment in message


@pytest.mark.parametrize("word", ["dpo", "method", "after", "export_me=1"])
def test_options_and_settings_are_no_mistyped_commands(capsys, word):
    cli.status([word])
    assert "there is no command" not in capsys.readouterr().err


def test_wrong_arguments_name_the_command(capsys):
    with pytest.raises(SystemExit) as left:
        cli.status(["sweep", "DIR", "resume", "--wiat"])
    assert left.value.code == exits.FIXABLE
    assert "rlpipe sweep: error: unrecognized arguments: --wiat" in capsys.readouterr().err


def test_help_of_a_command_imports_neither_hydra_nor_anything_heavy():
    program = (
        "import sys\n"
        "from rlpipe.cli.main import main\n"
        "try:\n    main()\n"
        f"finally:\n    print([name for name in ('hydra', *{HEAVY}) if name in sys.modules])"
    )
    for name in ("sweep", "report", "stages"):
        done = subprocess.run(
            [sys.executable, "-c", program, name, "--help"], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]", name


@pytest.mark.slow
def test_help_of_every_command_imports_nothing_heavy():
    program = (
        "import sys; from rlpipe.cli.commands import load\n"
        f"for name in {list(COMMANDS)}:\n"
        f"    load(name).parser(); print(name, *(one for one in {HEAVY} if one in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(COMMANDS)


# -- tab completion


@pytest.fixture
def tab(capsys, monkeypatch, tmp_path):
    """What a shell is offered at the end of a line, in a folder with two runs."""
    for folder in ("runs/a", "runs/b", ".hidden"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "rows.jsonl").write_text("")
    monkeypatch.chdir(tmp_path)

    def press(line: str, shell: str = "bash") -> list[str]:
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_POINT", str(len(line)))
        assert cli.status(["-sc", f"query={shell}"]) == exits.DONE
        return capsys.readouterr().out.split()

    return press


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("rlpipe stages ", ["explain", "list", "prune", "verify"]),
        ("rlpipe stages --store runs/a p", ["prune"]),
        ("rlpipe stages --store r", ["runs/"]),
        ("rlpipe stages prune --o", ["--older-than"]),
        ("rlpipe stages prune --older-than ", []),
        ("rlpipe sweep runs/", ["runs/a/", "runs/b/"]),
        ("rlpipe sweep runs/a ", ["add", "cancel", "confirm", "logs", "resume", "status", "watch"]),
        ("rlpipe sweep runs/a re", ["resume"]),
        ("rlpipe sweep runs/a resume 3 --w", ["--wait"]),
        ("rlpipe sweep runs/a nothing ", []),
        ("rlpipe sweep nowhere/", []),
        ("rlpipe report runs/a ", ["runs/"]),
        ("rlpipe report --ba", ["--baseline"]),
        ("rlpipe chat ", ["runs/"]),
        ("rlpipe chat runs/a ", []),
        ("rlpipe chat runs/a --device c", ["cpu", "cuda"]),
        ("rlpipe export runs/a r", ["runs/"]),
        ("rlpipe export runs/a --to ", ["folder", "gguf", "ollama", "vllm"]),
        ("rlpipe reproduce --run-dir=x --ch", ["--check"]),
        ("rlpipe reproduce .h", [".hidden/"]),
    ],
)
def test_tab_completes_what_follows_a_command(tab, line, offered):
    assert sorted(tab(line)) == offered
    assert sorted(tab(line, "fish")) == offered


@pytest.mark.slow
def test_tab_completes_commands_beside_groups(tab):
    assert tab("rlpipe sw") == ["sweep"]
    assert {*COMMANDS, "method=", "seed="} <= set(tab("rlpipe "))
    assert not {*COMMANDS} & set(tab("rlpipe method=dpo "))


@pytest.mark.slow
def test_tab_completes_the_settings_that_a_command_takes(tab):
    assert {"method=dpo", "method=kto"} <= set(tab("rlpipe stages explain seed=1 method="))
    assert "method.desirable_weight=" in tab("rlpipe stages explain method=kto method.des")
    assert tab("rlpipe sweep runs/a add see") == ["seed="]
    assert tab("rlpipe sweep runs/a add --wait see") == ["seed="]


ON_TAB = """
PATH=$1:$PATH; shift
eval "$(rlpipe -sc install=bash)"
for line in "$@"; do
    COMP_LINE=$line; COMP_POINT=${#line}; COMP_WORDS=($line); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    [[ $line == *" " ]] && COMP_CWORD=${#COMP_WORDS[@]}
    hydra_bash_completion
    echo "${COMPREPLY[@]}"
done
"""


@pytest.mark.slow
def test_bash_completes_by_the_script_that_it_is_given(tmp_path):
    program = tmp_path / "bin" / "rlpipe"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom rlpipe.cli.main import main\n\nmain()\n")
    program.chmod(0o755)
    (tmp_path / "runs").mkdir()
    offered = {
        "rlpipe sw": "sweep",
        "rlpipe stages ": "list verify explain prune",
        "rlpipe chat r": "runs/",
        "rlpipe method=dp": "method=dpo",
    }
    command = ["bash", "-c", ON_TAB, "bash", str(program.parent), *offered]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert [line.strip() for line in done.stdout.splitlines()] == list(offered.values()), done.stderr
