"""What is seen on a terminal, and what a script gets: through a real pseudo-terminal and real files."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest

from rlpipe.cli.chat import terminal
from rlpipe.cli.chat.conversation import Conversation
from rlpipe.engines.rollout import SamplingConfig, ToolCall
from rlpipe.models.base import Loaded
from rlpipe.models.tokens import encode
from tests import warm
from tests.engines.families import family
from tests.engines.scripted import script

ROOT = Path(__file__).parents[3]


class Screen:
    """The other side of a pseudo-terminal: what was shown, and when each piece came."""

    def __init__(self) -> None:
        self.side, self.theirs = pty.openpty()
        settings = termios.tcgetattr(self.theirs)
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(self.theirs, termios.TCSANOW, settings)
        self.pieces: list[tuple[float, str]] = []

    @property
    def text(self) -> str:
        return "".join(piece for _, piece in self.pieces).replace("\r\n", "\n")

    def read(self, seconds: float) -> bool:
        """Read what comes next; say whether anything came."""
        if not select.select([self.side], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.side, 65536)
        except OSError:  # the other side was closed
            return False
        self.pieces.append((time.monotonic(), data.decode(errors="replace")))
        return bool(data)

    def until(self, seen: Callable[[str], object], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not seen(self.text):
            assert time.monotonic() < deadline, self.text
            self.read(0.2)

    def type(self, line: str) -> None:
        os.write(self.side, f"{line}\n".encode())


@pytest.fixture
def one() -> Loaded:
    return family("llama")


@contextmanager
def shown_on(screen: Screen) -> Iterator[None]:
    """Let standard output be the pseudo-terminal."""
    with os.fdopen(screen.theirs, "w", closefd=False) as out, redirect_stdout(out):
        yield


def test_an_answer_appears_while_it_is_written(one):
    """A model that takes its time is read piece by piece, not at the end."""
    screen = Screen()
    conversation = Conversation(one, SamplingConfig(temperature=0.8, max_tokens=12))
    handle = one.model.register_forward_hook(lambda *_: time.sleep(0.05))
    worker = threading.Thread(target=terminal.one_shot, args=(conversation, "Hello"))
    try:
        with shown_on(screen):
            worker.start()
            while worker.is_alive():
                screen.read(0.02)
        while screen.read(0.05):
            pass
    finally:
        handle.remove()
        worker.join()
    answer = conversation.messages[-1]["content"]
    assert len(answer) > 6
    times = [when for when, _ in screen.pieces]
    assert len(times) >= 5
    assert times[-1] - times[0] > 0.25


def test_control_characters_of_a_model_do_not_steer_the_terminal():
    screen = Screen()
    with shown_on(screen):
        terminal.show_text("a\x1b[2Jb\tc\nd\x9b31me\x07")
    screen.read(1)
    assert screen.text == r"a\x1b[2Jb" + "\tc\nd" + r"\x9b31me\x07"


def test_a_call_is_shown_with_its_result(capsys):
    terminal.show_call(ToolCall("calculator", {"expression": "2*3"}, "6", False, 4))
    terminal.show_call(ToolCall("calculator", {"expression": "[bold]"}, "error: no", True, 9))
    told = capsys.readouterr().err
    assert "⚙ calculator(expression='2*3') → 6" in told
    assert "⚙ calculator(expression='[bold]') → error: no" in told


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Let these lines be typed, then Ctrl-D."""
    left = list(lines)

    def read(_: str = "") -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    monkeypatch.setattr("builtins.input", read)


def test_commands(one, monkeypatch, capsys):
    conversation = Conversation(one, SamplingConfig(temperature=0, max_tokens=4), system="Be kind.")
    typed(monkeypatch, "Hi", "", "/reset", "/what", "/help", "//tmp is a folder")
    terminal.converse(conversation)
    told = capsys.readouterr().err
    assert "(a new conversation)" in told
    assert "there is no command /what" in told
    assert told.count("Ctrl-C stops an answer") == 3
    roles = [(message["role"], message["content"]) for message in conversation.messages]
    assert roles[:2] == [("system", "Be kind."), ("user", "/tmp is a folder")]
    assert len(roles) == 3


def test_exit_leaves_at_once(one, monkeypatch):
    conversation = Conversation(one, SamplingConfig(max_tokens=4))
    typed(monkeypatch, "/exit", "never said")
    terminal.converse(conversation)
    assert conversation.messages == []


def test_a_full_context_and_a_ctrl_c_do_not_end_the_conversation(one, monkeypatch, capsys):
    conversation = Conversation(one, SamplingConfig(temperature=0, max_tokens=4))
    typed(monkeypatch, "word " * 600, "Hi")
    interrupted = iter([True, False])
    answer = Conversation.say

    def say(self, text, on_text, on_call):
        if text == "Hi" and next(interrupted):
            raise KeyboardInterrupt
        return answer(self, text, on_text, on_call)

    monkeypatch.setattr(Conversation, "say", say)
    terminal.converse(conversation)
    told = capsys.readouterr().err
    assert "/reset" in told
    assert "(stopped: what you said and this answer are forgotten)" in told
    typed(monkeypatch, "Hi")
    terminal.converse(conversation)
    assert conversation.messages[0]["content"] == "Hi"


def test_a_script_gets_the_answer_alone_and_as_it_is(one, capsys):
    conversation = Conversation(one, SamplingConfig(max_tokens=20))
    from rlpipe.datasets.forms import Prompt
    from rlpipe.engines.prompts import prompt_ids

    asked = prompt_ids(Prompt("chat", [{"role": "user", "content": "Hi"}]), one.tokenizer)
    with script(one, asked, encode(["Good\tday.\x1b[0m<|im_end|>"], one.tokenizer)[0]):
        terminal.one_shot(conversation, "Hi")
    captured = capsys.readouterr()
    assert captured.out == "Good\tday.\x1b[0m\n"
    assert captured.err == ""


# -- the command itself


GREEDY = ("--temperature", "0", "--max-tokens", "8")


@pytest.mark.slow
def test_a_conversation_on_a_terminal(trained_run):
    screen = Screen()
    process = warm.Process("rlpipe", "chat", str(trained_run), *GREEDY, terminal=os.ttyname(screen.theirs))
    try:
        screen.until(lambda text: text.endswith("> "))
        assert "trained by sft on smoltalk" in screen.text
        assert "greedy, at most 8 tokens" in screen.text
        for line_, seen in (("Hello", r"max-tokens\), 8 tokens, \d+ tokens/s"), ("/reset", r"a new conversation")):
            screen.type(line_)
            screen.until(lambda text, seen=seen: re.search(seen, text) and text.endswith("> "))
        screen.type("/exit")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
    assert "Traceback" not in screen.text


@pytest.mark.slow
def test_from_a_file(trained_run):
    given = warm.run("rlpipe", "chat", str(trained_run), *GREEDY, given="Hello\n")
    named = warm.run("rlpipe", "chat", str(trained_run), *GREEDY, "--prompt", "Hello")
    assert (given.returncode, named.returncode) == (0, 0), given.stderr
    assert given.stdout == named.stdout
    assert given.stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nobody", "--prompt", " "), "--prompt: there is nothing to say"),
        (("nobody", "--prompt", "a", "--temperature", "-1", "--max-tokens", "0"), "2 problems"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_loaded(arguments, told):
    command = [sys.executable, "-m", "rlpipe", "chat", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=300)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
