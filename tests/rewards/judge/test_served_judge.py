"""The judge against `transformers serve` and a small model that has learnt to give a score."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlpipe.core.errors import DataError, TrainingError
from rlpipe.rewards.judge.judge import Judge

MISSING = [name for name in ("fastapi", "uvicorn", "openai") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"pip install 'transformers[serving]': {MISSING} are not installed"),
]


def learn_to_say(folder: str, reply: str, at: Path) -> None:
    """Overfit a small model until it gives one reply to everything."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    rows = []
    for question in ("Judge: a", "Judge: the answer is four", "Judge: yes", "Judge: no idea at all"):
        asked = [{"role": "user", "content": question}]
        head = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)["input_ids"]
        whole = [*asked, {"role": "assistant", "content": reply}]
        ids = tokenizer.apply_chat_template(whole, return_dict=True)["input_ids"]
        rows.append((ids, len(head)))
    for step in range(160):
        ids, start = rows[step % len(rows)]
        labels = torch.tensor([[-100] * start + ids[start:]])
        loss = model(torch.tensor([ids]), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.02
    model.save_pretrained(at)
    tokenizer.save_pretrained(at)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a model by `transformers serve` and yield the endpoint's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = (folder / "log.txt").open("w")
    server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(240):
            assert server.poll() is None, (folder / "log.txt").read_text()[-3000:]
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail(f"the server did not start: {(folder / 'log.txt').read_text()[-3000:]}")
        yield f"{address}/v1"
    finally:
        server.kill()
        server.wait()
        log.close()


@pytest.fixture(scope="module")
def served(language_model, tmp_path_factory):
    """The address and the name of a model that says `Score: 7` to everything."""
    folder = tmp_path_factory.mktemp("served") / "judge"
    learn_to_say(language_model, "Score: 7", folder)
    with serving(folder) as address:
        yield address, str(folder)


def test_a_served_model_scores_completions(served, context, finished):
    url, model = served
    settings = {"url": url, "model": model, "rubric": "Judge: {completion}", "max_tokens": 8, "concurrency": 2}
    reward = Judge(Judge.Config(name="judge", **settings))
    reward.start(context)
    scores = reward.score([finished(text) for text in ("the answer is four", "yes", "the answer is four")])
    assert [score.value for score in scores] == [0.7, 0.7, 0.7]
    assert reward.replies.calls == 2
    strict = Judge(Judge.Config(name="judge", low=8, retries=0, **settings))
    strict.start(context)
    with pytest.raises(TrainingError, match="the score 7 lies outside 8"):
        strict.score([finished("no idea at all")])


def test_ai_feedback_by_a_served_model_that_always_prefers_the_first_answer(language_model, small_model, tmp_path):
    from rlpipe.config.compose import compose
    from rlpipe.run.run import run

    folder = tmp_path / "judge"
    learn_to_say(language_model, "Better: A", folder)
    with serving(folder) as address:
        asked = [
            *("method=ai_feedback", "method.mode=pairwise", "method.samples=2", "method.cut=keep", "evaluation=none"),
            *("dataset=ultrafeedback", "dataset.source=sample", "dataset.sample_size=6", "dataset.test_limit=1"),
            *("model=hf", f"model.source={small_model}", "method.sampling.max_tokens=6", "hardware.device=cpu"),
            *("reward=judge", f"reward.judge.url={address}", f"reward.judge.model={folder}"),
            *("reward.judge.comparison='Judge: {first}|{second}'", "reward.judge.max_tokens=8"),
            *("reward.judge.concurrency=2", f"run_dir='{tmp_path / 'run'}'", "log.progress=false"),
        ]
        with pytest.raises(DataError, match="named the first answer in all 14 questions"):
            run(compose(*asked), asked)
