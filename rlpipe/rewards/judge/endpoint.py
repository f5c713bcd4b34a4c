"""Asking a chat endpoint that speaks OpenAI's protocol: retries with back-off, and words for what went wrong.

By `httpx2` and not the `openai` client: a reward endpoint's answer is no chat completion by the letter (its `message`
is a list), a request has to end at its time limit also where the answer trickles, each try is paid from a budget, and
that client's back-off draws from Python's global generator, whose state belongs to training.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import httpx2
    from tenacity import RetryCallState

Read = TypeVar("Read")

LATER = (408, 409, 425, 429)
"""HTTP codes below 500 that may pass when asked again."""
LONGEST_WAIT = 60.0
"""Seconds; back-off grows no further."""
LARGEST = 2**24
"""Bytes of an answer; a longer one is none."""


class Unanswered(Exception):
    """No usable answer. `passing` says whether asking again may help."""

    def __init__(self, what: str, passing: bool, after: float = 0.0):
        super().__init__(what)
        self.passing = passing
        self.after = after
        """Seconds that the endpoint asks to wait."""


class Unreadable(Unanswered):
    """A reply that came, and that says nothing usable; another try may."""

    def __init__(self, why: str, reply: str):
        super().__init__(f"{why}: {reply!r:.200}", passing=True)
        self.reply = reply


class Endpoint:
    """One chat endpoint. Safe to use from several threads; `stop` ends all waiting."""

    def __init__(self, url: str, key_env: str | None, timeout: float, retries: int, first_wait: float = 1.0):
        import httpx2

        self.url = f"{url.rstrip('/')}/chat/completions"
        self.key_env, self.timeout, self.retries, self.first_wait = key_env, timeout, retries, first_wait
        self.stop = threading.Event()
        # How many connections there are is how many threads ask.
        self._client = httpx2.Client(timeout=timeout, limits=httpx2.Limits(max_connections=None))
        self._random = random.Random()  # not the global one, whose state belongs to training

    def ask(self, body: dict[str, Any], spend: Callable[[], None], read: Callable[[str], Read]) -> tuple[str, Read]:
        """Post a request and return the reply's text, and what `read` makes of it.

        A reply that `read` refuses with ValueError is asked for again, like a time-out, a 429 or a 5xx:
        after `first_wait`, then twice that, and so on, each shortened by chance so that threads do not
        ask all at once. `spend` is called before each request. Raises Unanswered (Unreadable where the
        last reply was refused).
        """
        from tenacity import Retrying, retry_if_exception, sleep_using_event, stop_after_attempt, stop_when_event_set

        def once() -> tuple[str, Read]:
            spend()
            text = self._post(body)
            try:
                return text, read(text)
            except ValueError as error:
                raise Unreadable(str(error), text) from None

        tries = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, Unanswered) and error.passing),
            stop=stop_after_attempt(self.retries + 1) | stop_when_event_set(self.stop),
            wait=self._wait,
            sleep=sleep_using_event(self.stop),
            before=self._ended,
            reraise=True,
        )
        return tries(once)

    def _wait(self, tries: RetryCallState) -> float:
        """Return the seconds to wait after a failure."""
        longest = min(LONGEST_WAIT, self.first_wait * 2.0 ** min(tries.attempt_number - 1, 64))
        error = tries.outcome.exception() if tries.outcome is not None else None
        wanted = error.after if isinstance(error, Unanswered) else 0.0
        return min(LONGEST_WAIT, max(self._random.uniform(longest / 2, longest), wanted))

    def _ended(self, tries: RetryCallState) -> None:
        """Keep a wait that `stop` has ended from being followed by a request."""
        if tries.attempt_number > 1 and self.stop.is_set():
            raise Unanswered("the waiting was ended", passing=False)

    def _post(self, body: dict[str, Any]) -> str:
        import httpx2

        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key_env is not None:
            headers["Authorization"] = f"Bearer {os.environ.get(self.key_env, '').strip()}"
        deadline = time.monotonic() + self.timeout
        try:
            with self._client.stream("POST", self.url, content=json.dumps(body), headers=headers) as response:
                answer = _read(response, deadline)
        except (httpx2.LocalProtocolError, UnicodeEncodeError):  # their text would show the header, and so the key
            raise Unanswered(f"the key in {self.key_env} has signs that no header may have", passing=False) from None
        except httpx2.InvalidURL as error:
            raise Unanswered(f"this is no address: {error}", passing=False) from None
        except (httpx2.HTTPError, OSError) as error:
            raise Unanswered(f"{type(error).__name__}: {error}", passing=True) from None
        if not response.is_success:
            passing = response.is_server_error or response.status_code in LATER
            text = answer[:300].decode("utf-8", "replace").strip()
            what = f"HTTP {response.status_code} {response.reason_phrase}: {text}"
            raise Unanswered(what, passing, _after(response.headers.get("Retry-After", "")))
        return _content(answer)


def _read(response: httpx2.Response, deadline: float) -> bytes:
    """Read an answer as a whole; the client's own time limit starts anew with every packet."""
    found = bytearray()
    for chunk in response.iter_bytes():
        found += chunk
        if len(found) > LARGEST:
            raise Unanswered("the answer is endless", passing=True)
        if time.monotonic() > deadline:
            raise TimeoutError("timed out")
    return bytes(found)


def _content(answer: bytes) -> str:
    try:
        message = json.loads(answer)["choices"][0]["message"]
        if isinstance(message, list):  # hosted reward models: a list of messages, of which the last is the reply
            message = message[-1]
        content = message["content"]
        if isinstance(content, list):  # some endpoints return the message as a list of parts
            content = "".join(part["text"] for part in content)
        content.encode()  # half a surrogate pair cannot be kept
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        content = None
    if not isinstance(content, str):
        raise Unanswered(f"this is no chat completion: {answer[:200]!r}", passing=True)
    return content


def _after(value: str) -> float:
    """Return the seconds of a `Retry-After` header; its form as a date is left to the back-off."""
    return float(value) if value.isascii() and value.isdecimal() else 0.0
