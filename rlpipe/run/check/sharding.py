"""Does a run whose processes share the model's weights have all that this takes, and nothing that it cannot do?"""

from __future__ import annotations

from collections.abc import Iterator

from rlpipe.config.kinds import Quantize
from rlpipe.config.schema import Sharding
from rlpipe.core import distributed
from rlpipe.core.errors import Problem
from rlpipe.methods.offline import OfflineMethod
from rlpipe.run.check.subject import Subject

WHERE = "hardware.sharding"
WHOLE = f"set {WHERE}=none, where each process holds the whole model"
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused")


def sharding(subject: Subject) -> Iterator[Problem]:
    """Weights in shards are trained by methods on fixed data, in several processes."""
    config, method = subject.config, subject.method
    if config.hardware.sharding is Sharding.none or method is None:
        return
    name = config.method.name
    if not isinstance(method, OfflineMethod):
        does = "draws completions from the policy" if subject.trains else "trains no model of its own"
        smaller = " (with adapters, model.lora.rank=16, that is little more than the weights)" if subject.trains else ""
        yield Problem(WHERE, f"{name} {does}, which weights in shards do not serve", f"{WHOLE}{smaller}")
        return
    if subject.here and distributed.world_size() == 1:
        what = "this is one process, which holds the whole model"
        yield Problem(WHERE, what, "start one for each GPU: torchrun --nproc-per-node=GPUS -m rlpipe …", fatal=False)
    yield from _model(subject, method)
    yield from _optimizer(subject)
    yield from _evaluations(subject)


def _model(subject: Subject, method: OfflineMethod) -> Iterator[Problem]:
    config = subject.config
    if config.model.quantize is not Quantize.none:
        what = "quantised weights cannot be cut into shards"
        yield Problem(WHERE, what, f"{WHOLE}, or model.quantize=none")
    if config.model.lora.rank > 0 and config.model.lora.dora:
        what = "DoRA measures whole weights at every step, and shards are parts of them"
        yield Problem("model.lora.dora", what, f"set it to false, or {WHOLE}")
    reference = getattr(config.method, "reference", None)
    if method.uses_reference and reference is not None and reference.given:
        what = "a reference of its own would be held whole by each process"
        fix = "leave it out: the policy's own start is then the reference, and sharded like it"
        yield Problem("method.reference", what, f"{fix}; or {WHOLE}")


def _optimizer(subject: Subject) -> Iterator[Problem]:
    optimizer = getattr(subject.config.method, "extra", {}).get("optim")
    if optimizer is not None and optimizer not in OPTIMIZERS:
        what = f"{optimizer} is not known to work on weights in shards"
        yield Problem("method.extra.optim", what, f"leave it out ({OPTIMIZERS[-1]} is then used), or {WHOLE}")


def _evaluations(subject: Subject) -> Iterator[Problem]:
    for name, one in subject.evaluations.items():
        where, why = f"evaluation.{name}", None
        if one.whole:
            why = "is measured by one process, and weights in shards need all"
        elif one.takes_reward and not one.verifies:
            why = "would ask its reward once a process, for all measure together"
        if why is not None:
            fix = "leave it out, and measure the run's model/ afterwards (method=none model.source=…)"
            yield Problem(where, why, f"{fix}, or {WHOLE}")
