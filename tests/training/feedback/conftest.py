"""Judged responses without a model, small runs in this process, and a chat server that answers as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlpipe.config.kinds import DatasetConfig, ModelConfig, RewardConfig, TrackerConfig
from rlpipe.config.resolved import resolve
from rlpipe.config.schema import LogConfig, RunConfig
from rlpipe.datasets.base import LoadReport, Split, Splits
from rlpipe.datasets.forms import Prompt
from rlpipe.engines.rollout import SamplingConfig
from rlpipe.methods.ai_feedback import AIFeedbackConfig, Cut
from rlpipe.models.base import Loaded
from rlpipe.rewards.judge.judge import JudgeConfig
from rlpipe.rewards.length import LengthConfig
from rlpipe.trackers.none import NoTracker
from rlpipe.training.base import GenerationContext, Parts


class Judge(ThreadingHTTPServer):
    """A chat endpoint: `reply` makes the answer to a question's text, `asked` holds the questions."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply: Callable[[str], str] = lambda question: "Score: 5"
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Judge

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question = body["messages"][0]["content"]
        self.server.asked.append(question)
        message = {"role": "assistant", "content": self.server.reply(question)}
        content = json.dumps({"choices": [{"message": message}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def judge() -> Iterator[Judge]:
    made = Judge()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def asking(judge: Judge) -> Callable[..., dict[str, RewardConfig]]:
    """Rewards of a run that asks the server about bare texts."""

    def make(**settings: Any) -> dict[str, RewardConfig]:
        bare = {"rubric": "{completion}", "comparison": "{first}|||{second}", "retries": 0, **settings}
        return {"judge": JudgeConfig(name="judge", url=judge.url, model="m", **bare)}

    return make


@dataclass
class Notebook:
    """What a generator of rows tells its run."""

    stop: Any = field(default_factory=lambda: SimpleNamespace(requested=False))
    cost: dict[str, float] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=lambda: {"notes": []})
    steps: list[int] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def may_write(self) -> bool:
        return True

    def update(self, **fields: Any) -> None:
        self.told["notes"] += fields.pop("notes", [])
        self.told |= fields

    def log_metrics(self, step: int, metrics: dict[str, Any]) -> None:
        self.steps.append(step)

    def log_samples(self, step: int, rows: list[dict[str, Any]]) -> None:
        self.samples += rows


@pytest.fixture(scope="session")
def loaded(small_model: Path) -> Any:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(small_model)
    return Loaded(model, AutoTokenizer.from_pretrained(small_model), str(small_model))


def prompts(split: str, count: int) -> list[Prompt]:
    words = ["red", "green", "blue", "a long time ago"]
    return [
        Prompt(f"{split}/{row}", [{"role": "user", "content": f"{row} " + " ".join(words[: row % 4 + 1])}])
        for row in range(count)
    ]


@pytest.fixture
def made(loaded: Any, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Make feedback on 11 prompts in `tmp_path/<at>`, without the rest of a run; `own` are the method's settings."""

    def make(reward: dict[str, RewardConfig] | None = None, at: str = "run", seed: int = 0, **own: Any) -> dict:
        from rlpipe.training.feedback.generator import FeedbackGenerator

        sampling = SamplingConfig(temperature=0.8, max_tokens=8)
        settings = {"samples": 4, "max_length": 128, "chunk": 3, "cut": Cut.keep, "sampling": sampling, **own}
        method = AIFeedbackConfig(name="ai_feedback", **settings)
        length = LengthConfig(name="length", words=2)
        config = RunConfig(
            model=ModelConfig(name="pretrained"),
            dataset=DatasetConfig(name="ultrafeedback", source="sample"),
            method=method,
            reward=reward or {"length": length},
            tracker=TrackerConfig(name="none"),
            log=LogConfig(progress=False),
            seed=seed,
        )
        both = [Split(prompts(name, count), LoadReport(name, "here", "x")) for name, count in SPLITS.items()]
        book = Notebook()
        parts = Parts(resolve(config), loaded, Splits(*both), tmp_path / at)
        try:
            metrics = FeedbackGenerator(method, parts).generate(
                GenerationContext(book, NoTracker(config.tracker), book.stop, book.cost)
            )
        finally:
            made_so_far.append(book)
        return {**lines(tmp_path / at), "metrics": metrics, "book": book}

    made_so_far: list[Notebook] = []
    make.books = made_so_far  # type: ignore[attr-defined]
    return make


SPLITS = {"train": 11, "test": 2}


def lines(folder: Path) -> dict[str, Any]:
    """Return the rows of both splits that a folder holds."""
    held = {}
    for name in SPLITS:
        path = folder / "data" / f"{name}.jsonl"
        held[name] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return held


@pytest.fixture(scope="session")
def small(small_model: Path) -> list[str]:
    """Overrides of a small run on a small model."""
    return [
        *("method=ai_feedback", "dataset=ultrafeedback", "model=hf", f"model.source={small_model}"),
        *("dataset.source=sample", "dataset.sample_size=11", "dataset.test_limit=2", "evaluation=none"),
        *("method.samples=4", "method.sampling.max_tokens=8", "method.max_length=200", "method.chunk=3"),
        *("method.cut=keep", "log.progress=false", "hardware.device=cpu"),
    ]


@pytest.fixture
def finished(small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run the small run with more overrides in `tmp_path/run`; returns its result, manifest, rows and samples."""
    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path / "store"))

    def run_it(*overrides: str) -> dict[str, Any]:
        from rlpipe.run.run import run
        from tests.composed import compose, once

        folder = tmp_path / "run"
        named = any(one.startswith("reward=") for one in overrides)
        reward = [] if named else ["reward=length", "reward.length.words=2"]
        asked = once(*small, *reward, *overrides, f"run_dir='{folder}'")
        run(compose(*asked), asked)
        held = {name: json.loads((folder / f"{name}.json").read_text()) for name in ("result", "manifest")}
        samples = folder / "samples.jsonl"
        read = [json.loads(line) for line in samples.read_text().splitlines()] if samples.exists() else []
        return {**held, **lines(folder), "samples": read}

    return run_it
