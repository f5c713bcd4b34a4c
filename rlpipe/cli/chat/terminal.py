"""The terminal's side of a conversation: what is typed, what is shown while an answer is written.

What the model writes goes to standard output as it is; everything else goes to standard error.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.text import Text

from rlpipe.cli.chat.conversation import Conversation, cut_by
from rlpipe.core.errors import DataError
from rlpipe.core.terminal import console, say
from rlpipe.core.visible import visible

if TYPE_CHECKING:
    from rlpipe.engines.rollout import ToolCall

HELP = """\
/reset   begin a new conversation
/exit    leave (so does Ctrl-D)
/help    show this
Ctrl-C stops an answer. A line that begins with // is sent with one slash."""


def one_shot(conversation: Conversation, prompt: str) -> None:
    """Say one thing and print the answer."""
    _answer(conversation, prompt)


def converse(conversation: Conversation) -> None:
    """Talk until the person leaves."""
    say(HELP)
    while (line := _read()) is not None:
        text = line.strip()
        match text:
            case "":
                continue
            case "/exit" | "/quit":
                return
            case "/reset":
                conversation.reset()
                say("(a new conversation)")
            case "/help":
                say(HELP)
            case _ if text.startswith("/") and not text.startswith("//"):
                say(f"there is no command {text.split()[0]}\n{HELP}")
            case _:
                _turn(conversation, text.removeprefix("/") if text.startswith("//") else text)


def _read() -> str | None:
    """Return the next line that is typed; None when there is none any more."""
    with suppress(ImportError):  # not on every platform
        import readline  # noqa: F401  # gives `input` line editing and history
    while True:
        try:
            return input("\n> ")
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            say("\n(/exit or Ctrl-D leaves)")


def _turn(conversation: Conversation, text: str) -> None:
    """Answer one line; what goes wrong with it does not end the conversation."""
    try:
        _answer(conversation, text)
    except KeyboardInterrupt:
        say("\n(stopped: what you said and this answer are forgotten)")
    except DataError as error:
        say(str(error))


def _answer(conversation: Conversation, text: str) -> None:
    began = time.monotonic()
    screen = sys.stdout.isatty()
    rollout = conversation.say(text, show_text if screen else write_text, show_call)
    print(flush=True)
    seconds = time.monotonic() - began
    cut = cut_by(rollout, conversation.sampling)
    if cut or screen:
        count = sum(rollout.written)
        notes = [cut] if cut else []
        _note(", ".join([*notes, f"{count} tokens, {count / max(seconds, 1e-9):.0f} tokens/s"]))


def write_text(text: str) -> None:
    """Write a piece of an answer as it is."""
    sys.stdout.write(text)
    sys.stdout.flush()


def show_text(text: str) -> None:
    """Write a piece of an answer to a terminal, which control characters in it must not steer."""
    write_text(visible(text))


def show_call(call: ToolCall) -> None:
    """Show a tool call and what came of it, on a line of its own."""
    sys.stdout.flush()
    arguments = ", ".join(f"{name}={value!r}" for name, value in call.arguments.items())
    colour = "red" if call.failed else "cyan"
    console().print(Text(f"\n  ⚙ {call.name or 'tool'}({arguments}) → {call.result}", style=colour), soft_wrap=True)


def _note(text: str) -> None:
    console().print(Text(f"({text})", style="dim"), soft_wrap=True)
