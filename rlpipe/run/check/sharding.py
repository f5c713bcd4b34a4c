"""Does a run whose processes share the model's weights have all that this takes, and nothing that it cannot do?"""

from __future__ import annotations

from collections.abc import Iterator

from rlpipe.config.kinds import Quantize
from rlpipe.config.schema import Sharding
from rlpipe.core import distributed
from rlpipe.core.errors import Problem
from rlpipe.engines.transformers import Transformers
from rlpipe.methods.offline import OfflineMethod
from rlpipe.methods.online import OnlineMethod
from rlpipe.run.check.subject import Subject

WHERE = "hardware.sharding"
WHOLE = f"set {WHERE}=none, where each process holds the whole model"
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused")


def sharding(subject: Subject) -> Iterator[Problem]:
    """Weights in shards are trained by rlpipe's own trainers, in several processes."""
    config, method = subject.config, subject.method
    if config.hardware.sharding is Sharding.none or method is None:
        return
    name = config.method.name
    if not isinstance(method, OfflineMethod | OnlineMethod):
        does = "is trained by TRL's own loop" if subject.trains else "trains no model"
        yield Problem(WHERE, f"{name} {does}, which weights in shards do not serve", WHOLE)
        return
    yield from _processes(subject)
    yield from _model(subject, method)
    if isinstance(method, OnlineMethod) and not isinstance(subject.engine, Transformers | None):
        what = f"{config.engine.name} takes over whole weights, and no process has them"
        yield Problem("engine", what, f"set engine=transformers, or {WHOLE}")
    yield from _optimizer(subject)
    yield from _evaluations(subject)


def _processes(subject: Subject) -> Iterator[Problem]:
    """The processes that are here can share a model."""
    world, local = distributed.world_size(), distributed.local_world_size()
    if not subject.here:
        return
    if world == 1:
        what = "this is one process, which holds the whole model"
        yield Problem(WHERE, what, "start one for each GPU: torchrun --nproc-per-node=GPUS -m rlpipe …", fatal=False)
    elif subject.config.hardware.sharding is Sharding.hybrid and local == 1:
        what = "each node has one process, which holds the whole model"
        yield Problem(WHERE, what, f"start one for each GPU, or set {WHERE}=fsdp2 to share it among nodes", fatal=False)
    elif subject.config.hardware.sharding is Sharding.hybrid and world % local:
        what = f"{world} processes are not {local} on each node, and nodes must hold the same shards"
        yield Problem(WHERE, what, f"start as many on each node, or set {WHERE}=fsdp2")


def _model(subject: Subject, method: OfflineMethod | OnlineMethod) -> Iterator[Problem]:
    config = subject.config
    if config.model.quantize is not Quantize.none:
        what = "quantised weights cannot be cut into shards"
        yield Problem(WHERE, what, f"{WHOLE}, or model.quantize=none")
    if config.model.lora.rank > 0 and config.model.lora.dora:
        what = "DoRA measures whole weights at every step, and shards are parts of them"
        yield Problem("model.lora.dora", what, f"set it to false, or {WHOLE}")
    reference = getattr(config.method, "reference", None)
    used = method.uses_reference if isinstance(method, OfflineMethod) else method.needs_reference_model
    if used and reference is not None and reference.given:
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
