"""New weights for a running vLLM. Imports nothing of rlpipe: a server runs it by `--worker-extension-cls`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


class Worker:
    """Methods that vLLM adds to its worker."""

    def rlpipe_take(self, folder: str) -> None:
        """Take over the weights that stand in a folder's safetensors files."""
        take(self, read(folder))


def read(folder: str) -> Iterator[tuple[str, Any]]:
    """Yield the tensors of a folder's safetensors files, by name."""
    from safetensors import safe_open

    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as tensors:
            for name in list(tensors.keys()):
                yield name, tensors.get_tensor(name)


def take(worker: Any, weights: Iterable[tuple[str, Any]]) -> None:
    """Give a worker's model new weights, named as transformers names them.

    Builds for processors keep weights packed. A reload packs layers again, but not a head that is tied to the
    embeddings: without what follows it would go on with the old ones.
    """
    worker.reload_weights(weights_iterator=iter(weights))
    model = worker.model_runner.get_model()
    head = getattr(model, "lm_head", None)
    if getattr(model.config, "tie_word_embeddings", False) and hasattr(head, "cpu_linear"):
        from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

        dispatch_cpu_unquantized_gemm(head, remove_weight=False)
