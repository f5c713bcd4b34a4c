"""Reading the files that W&B's client writes in offline mode: LevelDB log blocks of protobuf records."""

import json
import struct
import time
from pathlib import Path

_BLOCK = 32768


def _chunks(data):
    position = 7  # ":W&B", a magic number, a version
    while position + 7 <= len(data):
        if _BLOCK - position % _BLOCK < 7:
            position += _BLOCK - position % _BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        yield kind, data[position + 7 : position + 7 + length]
        position += 7 + length


def records(run_folder: Path, finished: bool = True):
    """Return all records of an offline run's folder; of a finished one, when its last one is on the disk.

    The client's own process writes them, and may do so a little after `finish` has returned.
    """
    deadline = time.monotonic() + 30
    while True:
        found = _records(run_folder)
        if not finished or any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        assert time.monotonic() < deadline, f"{run_folder} has no last record"
        time.sleep(0.05)


def _records(run_folder: Path):
    from wandb.proto import wandb_internal_pb2

    [file] = run_folder.glob("run-*.wandb")
    found, whole = [], b""
    for kind, chunk in _chunks(file.read_bytes()):
        whole = chunk if kind in (1, 2) else whole + chunk  # full or first; middle or last
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            found.append(record)
    return found


def history(run_folder: Path, finished: bool = True):
    """Return the logged rows."""
    rows = []
    for record in records(run_folder, finished):
        if record.WhichOneof("record_type") == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            rows.append(row)
    return rows


def summary(run_folder: Path):
    """Return the summary as it stands at the end."""
    found = {}
    for record in records(run_folder):
        if record.WhichOneof("record_type") == "summary":
            for item in record.summary.update:
                found[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return found


def run(run_folder: Path):
    """Return the run's own record: id, name, group, tags, config."""
    return next(r.run for r in records(run_folder) if r.WhichOneof("record_type") == "run")


def config(run_folder: Path):
    """Return the hyper-parameters."""
    return {
        item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in run(run_folder).config.update
    }
