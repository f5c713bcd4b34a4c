"""The memory of a run: what it took at most, and what to do where there is not enough.

The estimate of the checks knows weights and optimiser; what a step or a measurement takes beside them depends on rows
that are read later. So a run may run out all the same, and what it says then should be all that one needs.
"""

from __future__ import annotations

import contextlib
import re
import resource
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlpipe.config.schema import RunConfig
from rlpipe.core import distributed
from rlpipe.core.errors import TrainingError
from rlpipe.engines.scoring import BATCH_TOKENS

ON_CPU = "can't allocate memory"
"""What torch says, in a RuntimeError, where a processor's memory does not suffice."""
SMALLER = "choose a smaller model, set model.precision=pure_bfloat16, or train adapters (model.lora.rank=16)"


PROCESS = Path("/proc/self")


def forget_peak() -> None:
    """Let `peak_memory` count from now on."""
    if _uses_gpu():
        sys.modules["torch"].cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # no Linux, or not ours to reset: then the process's whole life counts
        (PROCESS / "clear_refs").write_text("5")


def peak_memory() -> int:
    """Return the most bytes that this process held: on the GPU where it has used one, else in main memory."""
    if _uses_gpu() and (held := int(sys.modules["torch"].cuda.max_memory_reserved())):
        return held
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", (PROCESS / "status").read_text())
        if found is not None:
            return int(found[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _uses_gpu() -> bool:
    """Return whether torch is there and sees a GPU; a run that ends before it is imported does not wait for that."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_available()


def out_of_memory(error: BaseException, config: RunConfig, doing: str) -> TrainingError | None:
    """Return the error to raise instead, where `error` or what led to it says that memory does not suffice."""
    found = next((one for one in _chain(error) if _exhausted(one)), None)
    if found is None:
        return None
    said = next(iter(str(found).splitlines()), "") or type(found).__name__
    where, fix = _advice(found, config)
    told = TrainingError(where, f"out of memory while {doing}: {said}", f"{fix}; then the same command goes on")
    told.__cause__ = error
    return told


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _exhausted(error: BaseException) -> bool:
    torch = sys.modules.get("torch")  # which alone raises its own kind
    on_gpu = torch is not None and isinstance(error, torch.OutOfMemoryError)
    return on_gpu or isinstance(error, MemoryError) or ON_CPU in str(error)


def _advice(error: BaseException, config: RunConfig) -> tuple[str, str]:
    """Return which setting decides on what was being done, and what to set; the innermost that is known counts."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        module = frame.f_globals.get("__name__", "")
        if module.startswith("rlpipe.engines.transformers") and hasattr(config.engine, "cache_tokens"):
            return _halved("engine.cache_tokens", config.engine.cache_tokens)
        mine = getattr(frame.f_locals.get("self"), "config", None)
        for kind, chosen in (("evaluation", config.evaluation), ("reward", config.reward)):
            for name, one in chosen.items():
                if type(one) is type(mine) and one.name == mine.name and hasattr(one, "batch_tokens"):
                    usual = BATCH_TOKENS["cpu" if ON_CPU in str(error) else "cuda"]
                    return _halved(f"{kind}.{name}.batch_tokens", one.batch_tokens or usual)
        if module.startswith("rlpipe.training"):
            return _smaller_step(config)
    return "model", SMALLER


def _smaller_step(config: RunConfig) -> tuple[str, str]:
    method: Any = config.method
    if hasattr(method, "micro_batch_tokens") and method.micro_batch_tokens > method.max_length:
        least = max(method.max_length, method.micro_batch_tokens // 2)
        return "method.micro_batch_tokens", f"set it to {least} ({method.micro_batch_tokens} now)"
    size = getattr(method, "micro_batch_size", 1)
    share = method.batch_size // distributed.world_size()
    smaller = next((one for one in range(size // 2, 0, -1) if share % one == 0), None)
    if smaller is not None and (smaller > 1 or config.method.name != "kto"):
        return "method.micro_batch_size", f"set it to {smaller} ({size} now)"
    if not config.model.gradient_checkpointing:
        return "model.gradient_checkpointing", "set it to true: activations are computed again instead of kept"
    return "method.max_length", f"lower it ({method.max_length} now), or {SMALLER}"


def _halved(where: str, now: int) -> tuple[str, str]:
    return where, f"set it to {max(1, now // 2)} ({now} now)"
