"""Asking a chat endpoint that speaks OpenAI's protocol: retries with back-off, and words for what went wrong."""

from __future__ import annotations

import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, TypeVar

Read = TypeVar("Read")

LATER = (408, 409, 425, 429)
"""HTTP codes below 500 that may pass when asked again."""
LONGEST_WAIT = 60.0
"""Seconds; back-off grows no further."""
LARGEST = 2**24
"""Bytes of an answer; a longer one is none."""


class Unanswered(Exception):
    """No usable answer. `passing` says whether asking again may help."""

    def __init__(self, what: str, passing: bool, after: float | None = None):
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
        self.url = f"{url.rstrip('/')}/chat/completions"
        self.key_env, self.timeout, self.retries, self.first_wait = key_env, timeout, retries, first_wait
        self.stop = threading.Event()
        self._random = random.Random()  # not the global one, whose state belongs to training

    def ask(self, body: dict[str, Any], spend: Callable[[], None], read: Callable[[str], Read]) -> tuple[str, Read]:
        """Post a request and return the reply's text, and what `read` makes of it.

        A reply that `read` refuses with ValueError is asked for again, like a time-out, a 429 or a 5xx:
        after `first_wait`, then twice that, and so on, each shortened by chance so that threads do not
        ask all at once. `spend` is called before each request. Raises Unanswered (Unreadable where the
        last reply was refused).
        """
        for attempt in range(self.retries + 1):
            spend()
            try:
                text = self._post(body)
                try:
                    return text, read(text)
                except ValueError as error:
                    raise Unreadable(str(error), text) from None
            except Unanswered as error:
                if not error.passing or attempt == self.retries:
                    raise
                longest = min(LONGEST_WAIT, self.first_wait * 2**attempt)
                wait = self._random.uniform(longest / 2, longest)
                if self.stop.wait(min(LONGEST_WAIT, max(wait, error.after or 0.0))):
                    raise
        raise AssertionError("unreachable")

    def _post(self, body: dict[str, Any]) -> str:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key_env is not None:
            headers["Authorization"] = f"Bearer {os.environ.get(self.key_env, '')}"
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        deadline = time.monotonic() + self.timeout
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                return _content(_read(response, deadline))
        except urllib.error.HTTPError as error:
            with error:
                passing = error.code >= 500 or error.code in LATER
                said = error.read(300).decode("utf-8", "replace").strip()
                raise Unanswered(f"HTTP {error.code} {error.reason}: {said}", passing, _after(error)) from None
        except (OSError, HTTPException) as error:  # URLError and time-outs are OSErrors
            raise Unanswered(f"{type(error).__name__}: {getattr(error, 'reason', error)}", passing=True) from None


def _read(response: Any, deadline: float) -> bytes:
    """Read an answer as a whole; the socket's own time limit starts anew with every packet."""
    found = bytearray()
    while chunk := response.read1(65536):
        found += chunk
        if len(found) > LARGEST:
            raise Unanswered("the answer is endless", passing=True)
        if time.monotonic() > deadline:
            raise TimeoutError("timed out")
    return bytes(found)


def _content(answer: bytes) -> str:
    try:
        content = json.loads(answer)["choices"][0]["message"]["content"]
        if isinstance(content, list):  # some endpoints return the message as a list of parts
            content = "".join(part["text"] for part in content)
        content.encode()  # half a surrogate pair cannot be kept
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        content = None
    if not isinstance(content, str):
        raise Unanswered(f"this is no chat completion: {answer[:200]!r}", passing=True)
    return content


def _after(error: urllib.error.HTTPError) -> float | None:
    """Return the seconds of a `Retry-After` header; its form as a date is left to the back-off."""
    value = error.headers.get("Retry-After") or ""
    return float(value) if value.isascii() and value.isdecimal() else None
