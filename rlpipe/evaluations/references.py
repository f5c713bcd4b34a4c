"""Responses that a policy is compared with: those of a frozen model, drawn once and kept in the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlpipe.config.kinds import Head
from rlpipe.core import distributed
from rlpipe.core.errors import ModelError
from rlpipe.core.files import append, explained, json_line, parse_lines, write_lines
from rlpipe.core.shapes import misfit
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.frozen import like, load_frozen
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.evaluations.completions import complete

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig
    from rlpipe.models.base import Loaded
    from rlpipe.tools.base import Tool


@dataclass(frozen=True)
class Reference:
    """Which model, and how its responses are drawn."""

    run: RunConfig
    model: str | None
    """A folder or hub id; None for the model that the run starts from, unless `stage` says more."""
    revision: str | None
    stage: list[str]
    sampling: SamplingConfig
    tools: Sequence[Tool]
    seed: int


class References:
    """A reference's responses by the prompt's id, kept in `folder`; `release` lets go of the model that drew them."""

    def __init__(self, reference: Reference, folder: Path):
        self.reference, self.file, self.folder = reference, folder / "responses.jsonl", folder
        self._loaded: Loaded | None = None
        self._kept: dict[str, str] | None = None

    def responses(self, policy: Loaded, prompts: Sequence[Prompt]) -> list[str]:
        """Return the reference's response to each prompt. Raises ModelError where the reference cannot be loaded.

        Every process of a run must ask at the same point.
        """
        if self._kept is None:
            self._kept = distributed.broadcast(self._drawn() if distributed.is_main() else None)
        missing = [prompt for prompt in prompts if prompt.id not in self._kept]
        drawn: dict[str, str] = {}
        if missing:
            self._loaded = self._loaded or self._load(policy)
            one = self.reference
            groups = complete(self._loaded, missing, one.sampling, one.tools, seed=one.seed)
            drawn = {prompt.id: rollout.text for prompt, (rollout,) in zip(missing, groups, strict=True)}
        new = {id: text for share in distributed.gather(drawn) for id, text in share.items()}
        self._kept |= new
        if new and distributed.is_main():
            append(self.file, "".join(json_line({"id": id, "response": text}) for id, text in new.items()))
        return [self._kept[prompt.id] for prompt in prompts]

    def _drawn(self) -> dict[str, str]:
        """Return what an earlier attempt has drawn; lines that a kill or the disk has damaged are drawn again."""
        with explained(self.file):
            self.folder.mkdir(parents=True, exist_ok=True)
            data = self.file.read_bytes() if self.file.exists() else b""
        found, damaged = parse_lines(data)
        rows = [row for row in found if misfit(row, {"id": str, "response": str}) is None]
        if damaged or len(rows) < len(found):
            write_lines(self.file, rows)
        return {row["id"]: row["response"] for row in rows}

    def release(self) -> None:
        """Let go of the model."""
        self._loaded = None

    def _load(self, policy: Loaded) -> Loaded:
        """Load the reference as the run loads its own model, with no adapters to train."""
        from rlpipe.hub.files import locate
        from rlpipe.stages.store import product

        one, model = self.reference, self.reference.run.model
        start = not one.stage and one.model is None
        settings = like(model, model.chat_template if start else None)
        try:
            source = product(one.run, one.stage) if one.stage else locate(one.model or policy.path, one.revision)[0]
            device = policy.model.device.type
            return load_frozen(str(source), settings, Head.causal_lm, device, self.folder / "model")
        except ModelError as error:
            raise ModelError("evaluation", f"the reference model: {error.headline}", error.fix) from error
