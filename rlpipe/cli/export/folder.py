"""Writing the folder: copies of the run's own files, bit for bit, with a model card that tells the whole story.

merged (the default)   config, generation config, safetensors, tokenizer with its chat template, README.md
adapter                adapter config and safetensors, tokenizer, README.md: for a base that others have too
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from rlpipe.core.errors import ModelError, RecordError
from rlpipe.core.files import explained, hashes
from rlpipe.models.card import card, hub_base
from rlpipe.records.runs import Run, Standing
from rlpipe.stages.named import model_of

ADAPTER = "adapter"
ADAPTER_CONFIG = "adapter_config.json"
CARD = "README.md"


@dataclass(frozen=True)
class Wanted:
    """What is to be exported, checked."""

    run: Run
    model: Path
    """The run's own folder of the whole model."""
    base: str | None
    """What the model was made from: a hub id or a folder; for an adapter, what it must be put on."""
    adapter: bool = False

    @property
    def source(self) -> Path:
        """The folder that is copied."""
        return self.model / ADAPTER if self.adapter else self.model


def check(run: Run, adapter: bool, base: str | None, force: bool) -> Wanted:
    """Return what can be exported of a run. Raises RecordError or ModelError for what should not be."""
    model = model_of(run)
    if run.standing is not Standing.ok and not force:
        raise RecordError(
            run.dir,
            f"the run has not ended well ({run.standing.value}{f': {run.error}' if run.error else ''})",
            "go on with it, or export what is there with --force: the card will say so",
        )
    _check_whole(run, model)
    if adapter:
        base = base or _base_of(run, model)
    return Wanted(run, model, base or hub_base(run.config), adapter)


def _check_whole(run: Run, model: Path) -> None:
    """Raise RecordError when the model is not the one that the run has recorded."""
    recorded, found = run.manifest.get("model"), hashes(model)
    if recorded is None:
        raise RecordError(run.dir, "was ended while it saved its model", "go on with the run")
    changed = [file for file in sorted(recorded | found) if recorded.get(file) != found.get(file)]
    if changed:
        raise RecordError(
            model,
            f"changed since the run wrote it ({', '.join(changed)})",
            "restore the files, or run it anew: a card that tells of other weights is worse than none",
        )


def _base_of(run: Run, model: Path) -> str:
    """Return the hub id of an adapter's base. Raises ModelError where there is no adapter, or no such base."""
    if not (model / ADAPTER / ADAPTER_CONFIG).is_file():
        raise ModelError(run.dir, "all weights were trained (model.lora.rank=0)", "leave --adapter out")
    base, stands_on = hub_base(run.config), adapter_base(model)
    if base is None or run.manifest["parents"] or Path(stands_on).is_relative_to(run.dir):
        raise ModelError(
            run.dir,
            f"its adapter stands on weights that only this machine has ({stands_on})",
            "export the merged model, or publish those weights and name them with --base",
        )
    return base


def adapter_base(model: Path) -> str:
    """Return the folder of the weights that a run's adapter was trained on."""
    return str(json.loads((model / ADAPTER / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"])


def check_target(target: Path) -> None:
    """Raise RecordError for a target that holds something."""
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise RecordError(target, "is there already and not empty", "name a new folder")


def write(wanted: Wanted, staged: Path, license: str | None) -> None:
    """Write the files into the new folder `beside`."""
    tokenizer = ("tokenizer*", "*.jinja", "special_tokens_map.json", "vocab*", "merges.txt")
    with explained(staged):
        shutil.copytree(wanted.source, staged, ignore=shutil.ignore_patterns(ADAPTER, CARD))
        if wanted.adapter:
            for file in (path for pattern in tokenizer for path in wanted.model.glob(pattern)):
                shutil.copy2(file, staged)
            _name_base(staged / ADAPTER_CONFIG, str(wanted.base), wanted.run.config["model"]["revision"])
        text = card(
            wanted.run.manifest, wanted.run.result, license=license, base=hub_id(wanted.base), adapter=wanted.adapter
        )
        (staged / CARD).write_text(text, encoding="utf-8")


def hub_id(base: str | None) -> str | None:
    """Return a base that is a hub id; None for a folder, which means nothing elsewhere."""
    return None if base is None or Path(base).expanduser().is_dir() else base


def _name_base(file: Path, base: str, revision: str | None) -> None:
    config = json.loads(file.read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": base, "revision": revision}
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def staging(target: Path) -> Path:
    """Return a new name beside the target, on the same file system. Raises RecordError where nothing can be written."""
    with explained(target.parent, "make"):
        target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}-{uuid4().hex[:8]}")


def publish(staged: Path, target: Path) -> None:
    """Put the written folder in its place."""
    with explained(target):
        staged.replace(target)
