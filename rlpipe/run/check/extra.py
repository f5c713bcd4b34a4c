"""Does the wrapped library take what `method.extra` hands to it? Found out without importing the library."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlpipe.config.settings import Range
from rlpipe.core.errors import Problem, guess
from rlpipe.methods import sources
from rlpipe.methods.library import LibraryMethod
from rlpipe.run.check.subject import Subject
from rlpipe.training.offline.arguments import set_by_rlpipe

NUMBERS = {
    "adam_beta1": Range(at_least=0, below=1),
    "adam_beta2": Range(at_least=0, below=1),
    "adam_epsilon": Range(at_least=0),
    "label_smoothing_factor": Range(at_least=0, below=1),
    "neftune_noise_alpha": Range(at_least=0),
    "dataloader_num_workers": Range(at_least=0),
    "ref_model_mixup_alpha": Range(at_least=0, at_most=1),
    "ref_model_sync_steps": Range(at_least=1),
}
"""Which numbers mean something, where the library itself says nothing or only once it trains."""

SWITCHES = {"use_liger_kernel": "liger_kernel", "use_vllm": "vllm", "deepspeed": "deepspeed"}
"""Fields that want a package of their own when they are set."""

OPTIMIZERS = {
    r"adamw_(bnb_)?8bit|lion_.*|paged_.*|rmsprop_bnb.*|ademamix.*": "bitsandbytes",
    r"galore_.*": "galore_torch",
    r"apollo_.*": "apollo_torch",
    r"(ada)?lomo": "lomo_optim",
    r"grokadamw": "grokadamw",
    r"schedule_free_.*": "schedulefree",
    r"stable_adamw": "optimi",
    r"adamw_torch_[48]bit": "torchao",
    r"adamw_torch_xla": "torch_xla",
    r"adamw_torch_npu_fused": "torch_npu",
    r"adamw_anyprecision": "torchdistx",
}
"""Optimisers of transformers by their names, and the package that has them."""

PIP = {
    "liger_kernel": "liger-kernel",
    "galore_torch": "galore-torch",
    "apollo_torch": "apollo-torch",
    "lomo_optim": "lomo-optim",
    "optimi": "torch-optimi",
    "bitsandbytes": "'rlpipe[quant]'",
}
"""What pip calls a package, where that differs from the name by which it is imported."""


def extra(subject: Subject) -> Iterator[Problem]:
    """The library has the fields that `method.extra` names, takes their values, and finds the packages they want."""
    method, given = subject.method, dict(subject.config.method.extra)
    if method is None or not given or method.makes == "data":  # which says itself that it trains nothing
        return
    if not isinstance(method, LibraryMethod):
        what = f"{subject.config.method.name} wraps no library's trainer, and would ignore it"
        yield Problem("method.extra", what, f"drop {', '.join(map(str, given))}")
        return
    owned = set_by_rlpipe(method)
    module, name, _ = method.library
    known = sources.fields(module, name)
    taken: dict[str, Any] = {}
    for key, value in given.items():
        problem = _unfit(f"method.extra.{key}", key, value, name, known, owned)
        if problem is None:
            taken[key] = value
        else:
            yield problem
    if known is not None:
        values = {key: field.default for key, field in known.items() if field.default is not ...}
        for words in sources.refusals(module, name, taken, values | method.arguments()):
            where = next((key for key in taken if key in words), "") if len(taken) > 1 else next(iter(taken))
            fix = f"change or remove {', '.join(taken)}"
            yield Problem(f"method.extra.{where}".rstrip("."), f"{name} refuses it: {words}", fix)
    yield from _packages(taken, subject.here)


def _unfit(
    where: str,
    key: str,
    value: Any,
    library: str,
    known: Mapping[str, sources.LibraryField] | None,
    owned: Mapping[str, str],
) -> Problem | None:
    """Return what is wrong with one field and its value by themselves."""
    if key in owned:
        return Problem(where, "rlpipe sets this itself", f"set {owned[key]} instead")
    if known is not None and key not in known:
        return Problem(where, f"{library} has no such field", guess(key, set(known) - set(owned)))
    if isinstance(value, float) and not math.isfinite(value):
        return Problem(where, f"{value} is no finite number", "give a number")
    if isinstance(value, int | float) and key in NUMBERS and not NUMBERS[key].holds(value):
        return Problem(where, f"{value} is out of range", f"it must be {NUMBERS[key].wanted}")
    wanted = known[key].misfit(value) if known is not None else None
    if wanted is None:
        return None
    choices = known[key].choices if known is not None else ()
    if isinstance(value, str) and choices:
        return Problem(where, f"'{value}' is none of its values", guess(value, choices))
    return Problem(where, f"{value!r} does not fit this field of {library}", f"it takes {wanted}")


def _packages(given: Mapping[str, Any], here: bool) -> Iterator[Problem]:
    """Yield the packages that values want and this Python lacks; the node of a cluster may have another's."""
    wanted = [(key, SWITCHES[key]) for key, value in given.items() if value and key in SWITCHES]
    optimizer = str(given.get("optim", ""))
    wanted += [("optim", package) for names, package in OPTIMIZERS.items() if re.fullmatch(names, optimizer)]
    for key, package in wanted:
        if importlib.util.find_spec(package) is None:
            where, fix = f"method.extra.{key}", f"pip install {PIP.get(package, package)}, or drop it"
            yield Problem(where, f"{given[key]} wants the package '{package}', which is not installed", fix, here)
    for key in ("deepspeed", "fsdp_config"):
        file = given.get(key)
        if isinstance(file, str) and file.endswith(".json") and not Path(file).expanduser().is_file():
            yield Problem(f"method.extra.{key}", f"there is no file {file}", "correct the path, or give a mapping")
