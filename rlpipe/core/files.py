"""Writing files so that a reader, and a kill at any moment, finds either the old content or the new.

Whole files are written beside their place and moved over it; rows are appended and cut back when
they did not fit. Every failure is a RecordError that names the file and what to do.

All that a run changes on disk is changed here, for a folder can be guarded: before a file in it is replaced, added to,
moved or deleted, its guard is asked, which raises where another process has taken the folder over (`records.lease`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rlpipe.core.errors import RecordError
from rlpipe.core.shapes import Shape, misfit

Row = dict[str, Any]
_ANY: Shape = {}
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_TAIL = 2**16
"""Bytes in which the last row of a file is looked for."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


_guards: dict[Path, Callable[[], None]] = {}


def guard(folder: Path, check: Callable[[], None]) -> None:
    """Have `check` called before anything in a folder is changed by this process, in place of an earlier guard."""
    _guards[folder.resolve()] = check


def unguard(folder: Path, check: Callable[[], None]) -> None:
    """Let go of a folder's guard, if it is this one."""
    if _guards.get(folder.resolve()) == check:
        del _guards[folder.resolve()]


def may_change(path: Path) -> None:
    """Raise what the guard of a folder that the path lies in raises: this process must not change it any more."""
    if _guards:
        whole = path.parent.resolve() / path.name
        for folder in (whole, *whole.parents):
            if folder in _guards:
                _guards[folder]()


@contextmanager
def explained(path: Path, doing: str = "write", setting: str = "run_dir") -> Iterator[None]:
    """Turn an OSError of the body into a RecordError that says what to do about it; `setting` chooses the folder."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise RecordError(
                path,
                f"no space left to {doing} it ({error.strerror}); what was there before is untouched",
                "free some space and give the same command again with the same run_dir: the run goes on",
            ) from error
        if error.errno in _READ_ONLY:
            raise RecordError(
                path,
                f"not allowed to {doing} it ({error.strerror})",
                f"choose a folder that you can write to, with {setting}=…",
            ) from error
        raise RecordError(
            path, f"cannot {doing} it ({error.strerror or error})", f"choose another folder with {setting}=…"
        ) from error


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file's content as one step that also survives a power cut."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            may_change(path)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def create(path: Path, content: str) -> bool:
    """Make a file that is not there yet, whole and in one step; return False where another process was faster.

    A name that exists has its content, on a shared file system too: the content is written under another name, which is
    linked to this one.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    may_change(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                return temporary.stat().st_nlink > 1  # a file server may have lost its answer, and been asked twice
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    return True


def move(source: Path, target: Path) -> None:
    """Give a file or folder another place on the same disk, in one step."""
    may_change(target)
    with explained(target):
        os.replace(source, target)
        _sync_folder(target.parent)


def remove(path: Path) -> None:
    """Delete a file, or a folder with all that is in it; one that is not there is gone already."""
    may_change(path)
    with explained(path, "delete"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def append(path: Path, text: str) -> None:
    """Add text to the end of a file, all of it or, when it does not fit, none of it."""
    data = text.encode()
    may_change(path)
    with explained(path, "append to"):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            before = os.fstat(descriptor).st_size
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)


def json_line(row: Mapping[str, Any]) -> str:
    """Return a row as one line of JSON; a number that JSON does not have (NaN, infinity) becomes null."""
    return json.dumps(_finite(row), ensure_ascii=False, allow_nan=False, default=str) + "\n"


def json_text(value: Any) -> str:
    """Return a value as indented JSON; a number that JSON does not have becomes null."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=str, indent=2) + "\n"


def read_json(path: Path, fix: str, shape: Shape = _ANY) -> Row | None:
    """Return a JSON file's object, None where there is no file.

    Raises RecordError for one that is damaged or has another shape; `fix` says what to do about this very file.
    """
    with explained(path, "read"):
        if not path.exists():
            return None
        try:
            value = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise RecordError(path, f"damaged ({error})", fix) from error
    if (wrong := misfit(value, shape)) is not None:
        raise RecordError(path, f"damaged ({wrong})", fix)
    return dict(value)


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a folder, by its path inside it; an absent folder has none."""
    with explained(folder, "read"):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def sha256(path: Path, sync: bool = False) -> str:
    """Return a file's SHA-256; with `sync`, also force it to the disk."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sync:
            os.fsync(file.fileno())
    return digest


def read_lines(path: Path, fix: str, shape: Shape = _ANY) -> list[Row]:
    """Return the rows of a JSONL file; an absent file has none and a torn last line is left out.

    Raises RecordError for a damaged line that is not the last, which nothing of ours leaves, and for a row of another
    shape; `fix` says what to do about this very file.
    """
    with explained(path, "read"):
        lines = path.read_bytes().split(b"\n") if path.exists() else []
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                break
            raise RecordError(f"{path}, line {number}", f"not JSON ({error})", fix) from error
        if (wrong := misfit(value, shape)) is not None:
            raise RecordError(f"{path}, line {number}", f"damaged ({wrong})", fix)
        rows.append(value)
    return rows


def first_row(path: Path) -> Row | None:
    """Return the first row of a JSONL file; None where there is none that is whole."""
    try:
        with open(path, "rb") as file:
            return _row(file.readline())
    except FileNotFoundError:
        return None


def last_row(path: Path) -> Row | None:
    """Return the last whole row of a JSONL file that may be growing, from its end alone; None where there is none."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return None
    rows = (_row(line) for line in reversed(lines[1:] if size > _TAIL else lines))
    return next((row for row in rows if row is not None), None)


def cut_torn(path: Path) -> None:
    """Cut off a last line that has no end: its writer was killed in the midst of it."""
    may_change(path)
    with explained(path):
        if not path.exists():
            return
        with open(path, "rb+") as file:
            size = len(data := file.read())
            if (whole := data.rfind(b"\n") + 1) < size:
                file.truncate(whole)


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a JSONL file in one step."""
    write_atomic(path, "".join(map(json_line, rows)))


def _finite(value: Any) -> Any:
    """Return the value with NaN and infinities replaced by None, and numpy or torch scalars by plain numbers."""
    if hasattr(value, "item") and not isinstance(value, (str, bytes)) and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_finite(item) for item in value]
    return value


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def parse_lines(data: bytes, still_going: bool = False) -> tuple[list[Row], int]:
    """Return the rows of JSON lines, and how many lines are no row.

    The last line of a file that is still being written may be torn: that is no damage.
    """
    lines = [line for line in data.split(b"\n") if line.strip()]
    try:
        rows = json.loads(b"[" + b",".join(lines) + b"]")  # four times as fast as line by line
        if len(rows) == len(lines) and all(type(row) is dict for row in rows):
            return rows, 0
    except (ValueError, RecursionError):
        pass  # read line by line below, where the damaged ones are counted
    rows = [row for line in lines if (row := _row(line)) is not None]
    torn = still_going and bool(lines) and not data.endswith(b"\n") and _row(lines[-1]) is None
    return rows, len(lines) - len(rows) - torn


def _row(line: bytes) -> Row | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
