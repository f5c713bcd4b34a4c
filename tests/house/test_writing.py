"""Files are changed in one place, `core.files`, which asks the folder's lease; what does it elsewhere is listed."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.house.parsed import parsed
from tests.house.test_floors import modules

METHODS = {"unlink", "rename", "write_text", "write_bytes", "rmdir", "touch", "symlink_to", "hardlink_to"}
FUNCTIONS = {
    "os": {"replace", "rename", "remove", "unlink", "truncate", "ftruncate", "rmdir"},
    "shutil": {"rmtree", "move", "copy", "copy2", "copyfile", "copytree"},
}
ELSEWHERE = {
    "rlpipe.core.files": "the one place",
    "rlpipe.records.heartbeat": "signs of life: not the owner's own files",
    "rlpipe.records.lease": "the lease itself",
    "rlpipe.stages.users": "marks of other runs on a stage",
    "rlpipe.stages.upkeep": "the store's folders, under their lease",
    "rlpipe.launchers.local.launcher": "the sweep's folder, which has no owner",
    "rlpipe.launchers.local.process": "the sweep's folder",
    "rlpipe.launchers.local.queue": "the sweep's folder",
    "rlpipe.launchers.environment": "the sweep's folder: a file that only the user can read",
    "rlpipe.launchers.sagemaker.boot": "a container's own disk, before anything of rlpipe is there",
    "rlpipe.launchers.slurm.script": "the sweep's folder",
    "rlpipe.run.memory": "a word to the system about this process",
    "rlpipe.sweep.job": "the sweep's folder",
    "rlpipe.sweep.place": "the sweep's folder",
    "rlpipe.models.export": "a new folder beside its place, moved there by core.files",
    "rlpipe.models.train_tokenizer": "a maker's tool",
    "rlpipe.methods.batch": "a checkpoint that is being written, and is sealed by core.files",
    "rlpipe.training.offline.trainer": "a checkpoint that is being written",
    "rlpipe.training.online.trainer": "a checkpoint that is being written",
    "rlpipe.engines.vllm": "an engine's scratch folder, in the system's place for such",
    "rlpipe.engines.vllm_server": "an engine's scratch folder",
    "rlpipe.engines.serving": "a server's log, in its engine's scratch folder",
    "rlpipe.engines.worker.rlpipe_supervise": "the scratch folder of an engine whose run was killed",
    "rlpipe.testing.launchers": "a test's own folder",
}


def changes(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that change files."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Attribute):
            owner = called.value.id if isinstance(called.value, ast.Name) else ""
            if called.attr in FUNCTIONS.get(owner, METHODS):
                yield node.lineno
        opens = isinstance(called, ast.Name) and called.id == "open"
        opens |= isinstance(called, ast.Attribute) and called.attr == "open"
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        if opens and any(isinstance(one, ast.Constant) and writes(one.value) for one in given):
            yield node.lineno


def writes(mode: object) -> bool:
    """Return whether an argument is a mode of `open` that changes a file."""
    return isinstance(mode, str) and set(mode) <= set("rwaxbt+") and bool(set(mode) & set("wax+"))


def test_files_are_changed_in_one_place():
    found = {
        module: [f"{file.name}:{line}" for line in changes(parsed(file))]
        for module, file in modules().items()
        if not module.startswith("rlpipe.cli")  # what commands write is the user's own
    }
    there = {module: lines for module, lines in found.items() if lines}
    assert {module: lines for module, lines in there.items() if module not in ELSEWHERE} == {}
    assert set(ELSEWHERE) <= set(there), "what is listed and changes nothing"


def test_changes_are_found():
    text = (
        "open(a, 'w'); path.open('ab'); path.unlink(); os.replace(a, b); shutil.rmtree(a); open(a); text.replace(a, b)"
    )
    assert len(list(changes(ast.parse(text)))) == 5
