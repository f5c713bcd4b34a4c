"""Does the training fit the model and the machine: adapters, context, batches, memory, GPU?"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any

from rlpipe.config.kinds import Quantize
from rlpipe.config.schema import Device, Sharding, Until
from rlpipe.core import distributed
from rlpipe.core.errors import ConfigError, ModelError, Problem
from rlpipe.datasets.forms import Preference
from rlpipe.engines.base import SeparateEngine
from rlpipe.hub.facts import local_facts
from rlpipe.methods.freezing import freeze_problems
from rlpipe.methods.library import LibraryMethod
from rlpipe.methods.online import OnlineMethod
from rlpipe.models.lora import parameter_count, target_error, targeted
from rlpipe.models.memory import Memory, estimate
from rlpipe.run.check.subject import Subject
from rlpipe.training.offline.arguments import accumulation


def batches(subject: Subject) -> Iterator[Problem]:
    """The batch is made up of whole micro-batches on every process."""
    config: Any = subject.config.method
    micro_batched = isinstance(subject.method, LibraryMethod) and subject.method.micro_batched
    if micro_batched and min(config.batch_size, config.micro_batch_size) >= 1:  # `ranges` names sizes below 1
        try:
            accumulation(subject.config, distributed.world_size())
        except ConfigError as error:
            yield from error.problems


def adapters(subject: Subject) -> Iterator[Problem]:
    """LoRA's targets are layers of the model, and adapters are smaller than these."""
    lora = subject.config.model.lora
    if lora.rank <= 0 or subject.facts is None:
        return
    modules = subject.facts.linear_modules
    error = target_error(lora.target_modules, modules)
    if error is not None:
        yield error
        return
    weights = sum(rows * columns for rows, columns in targeted(lora.target_modules, modules))
    adapters = parameter_count(lora, modules)
    if modules and adapters >= weights:
        what = f"adapters of rank {lora.rank} have more weights than the layers that they adapt ({adapters}, {weights})"
        yield Problem("model.lora.rank", what, "lower it (8 to 64 is usual), or train all weights: model.lora.rank=0")


def context(subject: Subject) -> Iterator[Problem]:
    """Sequences are no longer than the model can take."""
    model, method = subject.config.model, subject.config.method
    known = model.context or (subject.facts.context if subject.facts else None)
    if known is not None and method.max_length > known:
        what = f"{method.max_length} tokens are more than the {known} that the model takes"
        yield Problem("method.max_length", what, f"set method.max_length={known}")


def freezing(subject: Subject) -> Iterator[Problem]:
    """What trains from which step can be read, fits the model, and is done by a trainer that can do it."""
    config, method = subject.config.method, subject.method
    if not config.freeze or method is None or not subject.trains:
        return
    layers = subject.facts.layers if subject.facts is not None else None
    yield from freeze_problems(config.freeze, config.max_steps, layers)
    exchanges = distributed.world_size() > 1 and not isinstance(method, OnlineMethod)
    if exchanges or shares(subject):
        what = f"{config.name}'s processes exchange the gradients of weights that are fixed when training begins"
        yield Problem("method.freeze", what, "run it in one process, or leave it out")


def quantization(subject: Subject) -> Iterator[Problem]:
    """QLoRA has what it needs: adapters, a GPU, bitsandbytes."""
    model = subject.config.model
    if model.quantize is Quantize.none:
        return
    where = f"model.quantize={model.quantize.value}"
    if subject.trains and model.lora.rank == 0:
        yield Problem(
            where, "quantised weights cannot be trained themselves", "set model.lora.rank=16, or quantize=none"
        )
    if not on_gpu(subject):
        yield Problem(
            where, "needs a GPU, and this run has none", "run it on a machine with one, or model.quantize=none"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        yield Problem(where, "bitsandbytes is not installed", "pip install 'rlpipe[quant]', or model.quantize=none")


def device(subject: Subject) -> Iterator[Problem]:
    """A GPU that is asked for is there."""
    if subject.here and subject.config.hardware.device is Device.cuda and gpu_memory() is None:
        yield Problem(
            "hardware.device", "cuda is asked for, and nvidia-smi finds no GPU", "set hardware.device=cpu or auto"
        )


def threads(subject: Subject) -> Iterator[Problem]:
    """There are no more threads than cores."""
    cores, wanted = os.cpu_count(), subject.config.hardware.threads * distributed.world_size()
    if subject.here and cores is not None and wanted > cores:
        what = f"{wanted} threads are more than the {cores} cores of this machine, and wait for each other"
        yield Problem("hardware.threads", what, f"set hardware.threads={max(1, cores // 2)} or less", fatal=False)


def memory(subject: Subject) -> Iterator[Problem]:
    """The training step fits into the device's memory, by a torch-free estimate.

    Weights, gradients and optimiser are sure: too much of them is fatal. Activations are estimated for
    micro-batches of `max_length`, which shorter rows do not reach: too much of them is a warning.
    """
    needed_bytes = needed(subject)
    if needed_bytes is None or subject.method is None or not subject.here:
        return
    _, setting = _micro_batch(subject.config.method, pairs=Preference in subject.method.takes)
    have = gpu_memory() if on_gpu(subject) else main_memory() // distributed.world_size()
    assert have is not None
    name = "the GPU's" if on_gpu(subject) else "this machine's"
    if on_gpu(subject) and isinstance(subject.engine, SeparateEngine) and subject.engine.holds > 0:
        have, name = (
            int(have * (1 - subject.engine.holds)),
            f"what engine={subject.config.engine.name} leaves of the GPU:",
        )
    asked = needed_bytes.reference + needed_bytes.teacher
    sure = needed_bytes.weights + needed_bytes.gradients + needed_bytes.optimizer + asked
    if sure > have:
        what = f"weights, gradients and optimiser take about {sure / 1e9:.1f} GB, more than {name} {have / 1e9:.1f} GB"
        fix = "choose a smaller model, or train adapters (model.lora.rank=16)"
        if not shares(subject):
            yield Problem("model", what, fix)
        else:  # a check alone does not know how many processes the run will have
            unknown = distributed.world_size() == 1 and subject.config.until is Until.check
            yield Problem("model", what, f"start more processes, {fix}", fatal=not unknown)
    elif needed_bytes.total > have:
        rows = f"with rows of {subject.config.method.max_length} tokens a step may take {needed_bytes}"
        what = f"{rows}, more than {name} {have / 1e9:.1f} GB"
        fix = f"lower {setting} or method.max_length, or set model.gradient_checkpointing=true"
        yield Problem(setting, what, fix, fatal=False)


def drawing(subject: Subject) -> Iterator[Problem]:
    """What the policy keeps on the GPU while an engine draws there leaves the engine its share."""
    needed_bytes, engine = needed(subject), subject.engine
    if needed_bytes is None or not isinstance(engine, SeparateEngine) or not subject.here or not on_gpu(subject):
        return
    have = gpu_memory()
    assert have is not None
    stays = needed_bytes.weights + needed_bytes.optimizer + needed_bytes.reference + needed_bytes.teacher
    if engine.takes > 0 and stays + engine.takes * have > have:
        engine_share = f"beside the {engine.takes * have / 1e9:.1f} GB of engine={subject.config.engine.name}"
        kept = f"weights, optimiser and reference keep about {stays / 1e9:.1f} GB"
        what = f"{kept} of the GPU's {have / 1e9:.1f} GB, {engine_share}"
        fix = "lower engine.memory, train adapters, or set GPUs aside (engine=vllm_server engine.gpus=…)"
        yield Problem("engine.memory", what, fix)


def needed(subject: Subject) -> Memory | None:
    """Estimate what a training step takes in each process; None where nothing is trained or the size is not known."""
    model, method = subject.config.model, subject.config.method
    if subject.parameters is None or subject.method is None or not subject.trains:
        return None
    trainable = None
    if model.lora.rank > 0:
        modules = subject.facts.linear_modules if subject.facts else {}
        trainable = parameter_count(model.lora, modules) or 1  # few, when unknown
    tokens, _ = _micro_batch(method, pairs=Preference in subject.method.takes)
    whole = estimate(
        subject.parameters,
        precision=model.precision,
        tokens=tokens,
        trainable=trainable,
        quantize=model.quantize,
        gradient_checkpointing=model.gradient_checkpointing,
        reference=bool(getattr(subject.method, "needs_reference_model", False)),
        teacher=teacher_parameters(subject),
        facts=subject.facts,
    )
    if not shares(subject):
        return whole
    within = subject.config.hardware.sharding is Sharding.hybrid
    return whole.shared(distributed.local_world_size() if within else distributed.world_size())


def shares(subject: Subject) -> bool:
    """Whether the processes of the run share its weights."""
    return subject.config.hardware.sharding is not Sharding.none


def teacher_parameters(subject: Subject) -> int:
    """Return the number of a teacher's weights: as many as the policy's where it is not known, 0 for no teacher."""
    teacher, facts = getattr(subject.config.method, "teacher", None), None
    if teacher is None:
        return 0
    with contextlib.suppress(ModelError):  # `models.frozen` says why
        facts = local_facts(teacher.model) if teacher.model is not None else None
    return (facts.parameters if facts is not None else subject.parameters) or 0


def _micro_batch(method: Any, pairs: bool) -> tuple[int, str]:
    """Return the most tokens of one forward pass, and the setting that decides on them."""
    if hasattr(method, "micro_batch_tokens"):
        return max(method.micro_batch_tokens, method.max_length), "method.micro_batch_tokens"
    rows = getattr(method, "micro_batch_size", method.batch_size)
    return rows * (2 if pairs else 1) * method.max_length, "method.micro_batch_size"


def on_gpu(subject: Subject) -> bool:
    """Whether the run will use a GPU; on another machine it is taken to have one."""
    return subject.config.hardware.device is not Device.cpu and (not subject.here or gpu_memory() is not None)


@cache
def gpu_memory() -> int | None:
    """Return the first GPU's memory in bytes as nvidia-smi says, None where there is no GPU."""
    smi = shutil.which("nvidia-smi")
    if smi is None or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return None
    command = [smi, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (subprocess.SubprocessError, OSError):
        return None
    sizes = [int(line) for line in answer.splitlines() if line.strip().isdigit()]
    return min(sizes) * 2**20 if sizes else None


def main_memory() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
