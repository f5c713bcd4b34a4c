"""`vllm_server`: completions by a vLLM server, in an environment and on GPUs of its own.

The run starts the server and ends with it, or uses one that runs already. New weights, or an adapter, are written to a
folder that both see, kept in memory by default. A server that dies in the middle of a batch is started again: what it
had drawn is kept, what it had not is asked for once more, and draws the same, for a draw depends on its seed alone.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import ModelError, Problem
from rlpipe.engines import worker
from rlpipe.engines.base import SeparateConfig
from rlpipe.engines.segments import Request, Segment, SegmentEngine
from rlpipe.engines.serving import Child, Client, Unreachable, wait_until_healthy
from rlpipe.engines.vllm import adapted, alone, arguments, sampling_parameters, unserved

if TYPE_CHECKING:
    from rlpipe.config.schema import RunConfig
    from rlpipe.engines.rollout import SamplingConfig
    from rlpipe.engines.rows import Endings
    from rlpipe.models.base import Loaded

MODEL = "policy"
"""What a server of our own calls the model."""
FOUND_WITHIN = 30.0
"""Seconds within which a server that runs already must answer."""
RESTARTS = 3
"""How often a run starts its server again."""


@changing(Changes.nothing)
@dataclass
class VllmServerConfig(SeparateConfig):
    """Which server, and what it may take."""

    name: str = "vllm_server"
    """The engine plugin."""
    python: str | None = None
    """The Python of an environment that has vLLM, to start a server with; null: the one that runs rlpipe."""
    command: list[str] = field(default_factory=list)
    """Instead: what starts vLLM's API server (in a container, say); its arguments are put behind."""
    url: str | None = None
    """Instead: a server that runs already, as http://host:port."""
    key_env: str | None = None
    """The environment variable with the key of that server."""
    gpus: str | None = None
    """The GPUs of a server that the run starts, as CUDA_VISIBLE_DEVICES takes them; null: those of the run."""
    memory: float = setting(0.9, above=0, below=1)
    """The share of its GPUs' memory that the server takes, where it has GPUs."""
    cache_gb: int = setting(2, at_least=1)
    """Gigabytes of keys and values where it has none."""
    folder: str | None = None
    """A folder that run and server both see, for weights on their way; null: one that is kept in memory."""
    arguments: list[str] = field(default_factory=list)
    """Further arguments of a server that the run starts, as its command line takes them."""
    patience: float = setting(600.0, above=0)
    """Seconds that a start, or one request, may take."""


class VllmServer(SegmentEngine):
    """A vLLM server, in an environment and on GPUs of its own; the run starts it, or uses one that runs."""

    Config = VllmServerConfig
    config: VllmServerConfig

    def __init__(self, config: VllmServerConfig):
        super().__init__(config)
        self._client: Client | None = None
        self._child: Child | None = None
        self._command: list[str] = []
        self._environment: dict[str, str] = {}
        self._scratch: Path | None = None
        self._sockets: Path | None = None
        self._socket: Path | None = None
        self._model, self._base = MODEL, MODEL
        self._given: Path | None = None
        self._adapter = False
        self._syncs = self._starts = 0
        self._parameters: dict[str, Any] = {}
        self._open: dict[int, Request] = {}

    def problems(self, config: RunConfig) -> list[Problem]:
        """Say which choices of a server contradict each other, and what vLLM cannot do."""
        return [*contradictions(self.config), *unserved(config), *alone(self.config.name)]

    @property
    def draws_beside_training(self) -> bool:
        """Yes: the server is a process of its own."""
        return True

    @property
    def takes(self) -> float:
        """Nothing where GPUs are set aside, or the server is another's; a server does not sleep."""
        return self.config.memory if self.config.url is None and self.config.gpus is None else 0.0

    def start(self, loaded: Loaded) -> None:
        """Start the server and wait for it, or find the one that runs. Raises ModelError."""
        self._scratch = Path(mkdtemp(prefix="rlpipe-vllm-", dir=self.config.folder or shared_memory()))
        if self.config.url is None:
            self._sockets = Path(mkdtemp(prefix="rlpipe-"))  # not beside the weights: a socket's path must be short
            loaded.tokenizer.save_pretrained(self._scratch / "tokenizer")
            on_gpu = loaded.model.device.type == "cuda" or self.config.gpus is not None
            self._command = [*program(self.config), *options(self.config, loaded, self._scratch, on_gpu)]
            self._environment = environment(self.config, on_gpu)
        self._connect()

    def sync(self, loaded: Loaded) -> None:
        """Write the model's weights, or its adapter alone, where the server reads them, and have it do so."""
        assert self._scratch is not None
        if loaded.peft is not None and not adapted(loaded):
            return
        self._syncs += 1
        before, self._given = self._given, self._scratch / f"weights-{self._syncs}"
        self._adapter = loaded.peft is not None
        write_weights(loaded, self._given)
        try:
            self._give(self._given)
        except Unreachable as error:
            self._start_again(error)
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)

    def open(self, sampling: SamplingConfig, endings: Endings) -> None:
        """Lay down how requests are drawn."""
        self._parameters = sampling_parameters(sampling, endings)
        self._open.clear()

    def submit(self, requests: Sequence[Request]) -> None:
        """Ask for segments."""
        assert self._client is not None
        for one in requests:
            self._open[one.row] = one
            body = {"model": self._model, "prompt": one.ids, "max_tokens": one.room, "seed": one.seed}
            self._client.ask("/v1/completions", {**self._parameters, **body, "return_token_ids": True}, one.row)

    def finished(self) -> Iterator[Segment]:
        """Wait for answers, and yield those that there are; start a server that has died again."""
        assert self._client is not None
        answers = [self._client.answers.get()]
        while True:
            try:
                answers.append(self._client.answers.get_nowait())
            except Empty:
                break
        broken = None
        for row, answer in answers:
            if isinstance(answer, Unreachable):
                broken = answer
            elif isinstance(answer, Exception):
                raise answer
            else:
                del self._open[row]
                [drawn] = answer["choices"]
                yield Segment(row, drawn["token_ids"], drawn["logprobs"]["token_logprobs"])
        if broken is not None:
            waiting = list(self._open.values())
            self._start_again(broken)
            self.submit(waiting)

    def abort(self) -> None:
        """Close the connections of all requests: the server forgets what nobody waits for."""
        if self._client is not None:
            self._disconnect()
            if self._child is None or self._child.ended is None:
                self._talk()

    def close(self) -> None:
        """End a server that the run has started; leave another as it is."""
        self._disconnect()
        if self._child is not None:
            self._child.stop()
        for folder in (self._scratch, self._sockets):
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def notes(self, loaded: Loaded) -> list[str]:
        """Say which server draws, and how weights reach it."""
        where = self.config.url or "a server of the run's own"
        way = "full weights" if loaded.peft is None else "the adapter alone"
        return [f"completions are drawn by vLLM, {where}; it is handed {way} by files before each batch"]

    # The server

    def _connect(self) -> None:
        """Start the server where it is ours to start, and wait until it answers."""
        assert self._scratch is not None
        if self.config.url is None:
            assert self._sockets is not None
            self._starts += 1
            self._socket = self._sockets / str(self._starts)
            command, log = [*self._command, "--uds", str(self._socket)], self._scratch / f"server-{self._starts}.txt"
            self._child = Child(command, self._environment, log, [self._scratch, self._sockets])
        self._talk()
        assert self._client is not None
        patience = self.config.patience if self.config.url is None else min(self.config.patience, FOUND_WITHIN)
        wait_until_healthy(self._client, self._child, patience)
        if self.config.url is not None:
            self._model = self._base = str(self._client.get("/v1/models")["data"][0]["id"])

    def _talk(self) -> None:
        url = self.config.url or "http://server"
        self._client = Client(url.rstrip("/"), self._socket, self.config.key_env, self.config.patience)

    def _disconnect(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _start_again(self, error: Unreachable) -> None:
        """Put a new server in the place of one that has died, with the weights of now. Raises ModelError."""
        if self.config.url is not None:
            what = f"the server at {self.config.url} does not answer any more: {error}"
            raise ModelError("engine=vllm_server", what, "start it again, and go on with the run")
        assert self._child is not None
        output = self._child.output()
        if self._starts > RESTARTS:
            what = f"the server has died {self._starts} times ({error}); it said:\n{output}"
            raise ModelError("engine=vllm_server", what, "fix what it names, or set engine=transformers")
        self._disconnect()
        self._child.stop()
        self._connect()
        if self._given is not None:
            self._give(self._given)

    def _give(self, folder: Path) -> None:
        """Have the server take over what stands in a folder."""
        assert self._client is not None
        if self._adapter:
            self._model = folder.name
            self._client.post("/v1/load_lora_adapter", {"lora_name": folder.name, "lora_path": str(folder)})
        elif self.config.url is None:
            self._client.post("/collective_rpc", {"method": "rlpipe_take", "kwargs": {"folder": str(folder)}})
        else:
            self._client.post("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}})
        self._client.post("/reset_prefix_cache", {})


def contradictions(config: VllmServerConfig) -> Iterator[Problem]:
    """Yield what is wrong with the choice of a server."""
    named = [name for name in ("python", "command", "url") if getattr(config, name)]
    if len(named) > 1:
        what = f"{' and '.join(f'engine.{name}' for name in named)} name different servers"
        yield Problem("engine", what, "keep one of them")
    if config.python is not None and shutil.which(config.python) is None:
        yield Problem("engine.python", f"there is no program {config.python}", "name the Python of an environment")
    if config.url is not None and not config.url.startswith(("http://", "https://")):
        yield Problem("engine.url", f"{config.url} is no address", "give it as http://host:port")
    if config.url is None and config.key_env is not None:
        yield Problem("engine.key_env", "belongs to a server that runs already", "give engine.url, or drop it")
    if config.url is not None and (config.gpus is not None or config.arguments):
        yield Problem("engine", "gpus and arguments belong to a server that the run starts", "drop them, or engine.url")
    if config.key_env is not None and not os.environ.get(config.key_env):
        yield Problem("engine.key_env", f"the variable {config.key_env} is not set", f"export {config.key_env}=…")
    if config.folder is not None and not os.access(config.folder, os.W_OK):
        yield Problem("engine.folder", f"{config.folder} cannot be written", "name a folder that both sides see")


def program(config: VllmServerConfig) -> list[str]:
    """Return what starts vLLM's API server."""
    return list(config.command) or [config.python or sys.executable, "-m", "vllm.entrypoints.openai.api_server"]


def options(config: VllmServerConfig, loaded: Loaded, scratch: Path, on_gpu: bool) -> list[str]:
    """Return the arguments of vLLM's API server."""
    given: dict[str, Any] = {
        **arguments(loaded, scratch / "tokenizer"),
        "served_model_name": MODEL,
        "worker_extension_cls": "rlpipe_vllm.Worker",
        "disable_log_stats": True,
    }
    given |= {"gpu_memory_utilization": config.memory} if on_gpu else {"enforce_eager": True}
    written = []
    for name, value in given.items():
        words = name.replace("_", "-")
        written += [f"--{words}", str(value)] if not isinstance(value, bool) else [f"--{'' if value else 'no-'}{words}"]
    return [*written, *config.arguments]


def environment(config: VllmServerConfig, on_gpu: bool) -> dict[str, str]:
    """Return the environment of a server: the run's, without its modules, and what vLLM reads."""
    given = {
        "PYTHONPATH": str(Path(worker.__file__).parent),
        "VLLM_SERVER_DEV_MODE": "1",  # weights are handed over by what belongs to it; the socket is this user's alone
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    if not on_gpu:
        given |= {"VLLM_CPU_KVCACHE_SPACE": str(config.cache_gb), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    if config.gpus is not None:
        given["CUDA_VISIBLE_DEVICES"] = config.gpus
    return {**os.environ, **given}


def shared_memory() -> str | None:
    """Return a folder that is kept in memory, None where there is none."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def write_weights(loaded: Loaded, folder: Path) -> None:
    """Write a model's weights in the type that the engine computes in, or its adapter."""
    import torch
    from safetensors.torch import save_file

    model: Any = loaded.model
    if loaded.peft is not None:
        model.save_pretrained(folder, save_embedding_layers=False)
        return
    folder.mkdir()
    dtype = torch.bfloat16 if loaded.autocast else model.dtype
    weights = {name: weight.detach().to(dtype).contiguous() for name, weight in model.named_parameters()}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
