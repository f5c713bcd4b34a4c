"""The judge against a real server on this machine that speaks the chat protocol, well and badly."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rlpipe.core.errors import RecordError, RlpipeError, Stopped, TrainingError
from rlpipe.rewards.judge.judge import Judge, JudgeMode, OnFailure


def chat(content) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


class Server(ThreadingHTTPServer):
    """Answers by `script`: what each question's text gets, one after another; the last for ever."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = [(200, chat("Good. Score: 7"))]
        self.asked: list[dict] = []
        self.keys: list[str | None] = []
        self.count: Counter = Counter()
        self.under_way = self.most_under_way = 0
        self.delay = 0.0
        self.lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server, text = self.server, str(body["messages"])
        with server.lock:
            server.asked.append(body)
            server.keys.append(self.headers["Authorization"])
            turn = min(server.count[text], len(server.script) - 1)
            server.count[text] += 1
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        time.sleep(server.delay)
        answer = server.script[turn]
        code, content, *rest = answer(body) if callable(answer) else answer
        with server.lock:
            server.under_way -= 1
        for slow in rest:
            time.sleep(slow)
        try:
            self.send_response(code if self.path == "/v1/chat/completions" else 404)
            self.send_header("Content-Length", str(len(content)))
            if code == 429:
                self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            pass  # the judge hung up

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    made = Server()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def judge(server, context):
    """Start a judge on the server, with the settings given; impatient, so that tests are quick."""

    def make(**settings):
        settings = {"timeout": 2.0, "retries": 2, "model": "m", **settings}
        reward = Judge(Judge.Config(name="judge", url=f"http://127.0.0.1:{server.server_port}/v1/", **settings))
        assert reward.problems() == []
        reward.start(context)
        reward.endpoint.first_wait = 0.01
        return reward

    return make


def values(reward, rollouts):
    return [score.value for score in reward.score(rollouts)]


def test_a_rubric_is_filled_in_and_its_score_scaled(server, judge, finished):
    reward = judge(rubric="{prompt}|{completion}|{reference}|{low}|{high}", low=1, high=9)
    assert reward.columns == ("reference",)
    [score] = reward.score([finished("It {low} is {reference}.", "Why {high}?", reference="So {completion}.")])
    assert (score.value, score.parts) == (0.75, {"score": 7.0})
    [body] = server.asked
    filled = "Why {high}?|It {low} is {reference}.|So {completion}.|1|9"
    assert body["messages"] == [{"role": "user", "content": filled}]
    assert (body["model"], body["temperature"]) == ("m", 0)
    assert server.keys == [None]


def test_a_verifying_judge_is_asked_again_in_the_other_order_where_it_is_unsure(server, judge, finished):
    server.script = [
        lambda body: (200, chat("Unclear. Same: unsure" if "A=x\n" in body["messages"][0]["content"] else "Same: yes"))
    ]
    reward = judge(mode=JudgeMode.verify, verification="{prompt}|A={first}\n|B={second}\n", budget=3)
    assert (reward.verifies, reward.compares, reward.columns) == (True, False, ("reference",))
    rollouts = [finished(text, reference="ref") for text in ("x", "y", "x", "", "ref")]
    scores = reward.score(rollouts)
    assert [score.value for score in scores] == [1, 1, 1, 0, 1]
    assert [score.parts["asked_again"] for score in scores] == [1, 0, 1, 0, 0]
    assert [score.parsed for score in scores] == [True, True, True, False, True]
    assert scores[0].reason == "Unclear. Same: unsure\n\nSame: yes"
    asked = sorted(body["messages"][0]["content"] for body in server.asked)
    assert asked == ["Why?|A=ref\n|B=x\n", "Why?|A=x\n|B=ref\n", "Why?|A=y\n|B=ref\n"]
    assert reward.score(rollouts) == scores, "kept, and so without a fourth call"
    with pytest.raises(TrainingError, match="the budget of 3 calls is spent"):
        reward.score([finished("z", reference="ref")])


def test_a_reward_endpoint_gets_the_conversation_and_its_number_counts_as_it_is(server, judge, finished):
    server.script = [(200, chat("reward:-12.3"))]
    assert values(judge(mode=JudgeMode.reward), [finished("So.", "Why?")]) == [-12.3]
    [body] = server.asked
    assert body["messages"] == [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    assert set(body) == {"model", "messages"}
    server.script = [(200, chat("helpfulness:1.25,correctness: 0.4,verbosity:-2e-1"))]
    [score] = judge(mode=JudgeMode.reward, attribute="helpfulness", model="n").score([finished("So.")])
    assert score.parts == {"helpfulness": 1.25, "correctness": 0.4, "verbosity": -0.2}
    assert score.value == 1.25


def test_a_message_in_parts_is_joined(server, judge, finished):
    server.script = [(200, chat([{"type": "text", "text": "Sco"}, {"type": "text", "text": "re: 9"}]))]
    assert values(judge(), [finished("a")]) == [0.9]


@pytest.mark.parametrize("content", ["reward:-3.2", [{"type": "text", "text": "reward:-3.2"}]], ids=["text", "parts"])
def test_a_list_of_messages_ends_with_the_reply(server, judge, finished, content):
    message = {"role": "assistant", "content": content}
    server.script = [(200, json.dumps({"choices": [{"message": [message]}]}).encode())]
    assert values(judge(mode=JudgeMode.reward), [finished("So.")]) == [-3.2]
    server.script = [(200, json.dumps({"choices": [{"message": []}]}).encode())]
    with pytest.raises(TrainingError, match="this is no chat completion"):
        values(judge(mode=JudgeMode.reward, retries=0), [finished("No.")])


def rewarded(text, hosted) -> bytes:
    """An answer of NVIDIA's hosted service, whose `message` is a list of messages, or of a NIM, where it is one."""
    message = {"role": "assistant", "content": text}
    return json.dumps({"id": "1", "choices": [{"index": 0, "message": [message] if hosted else message}]}).encode()


@pytest.mark.parametrize("hosted", [True, False], ids=["hosted", "NIM"])
@pytest.mark.parametrize(
    "trouble",
    [
        lambda whole: (429, b'{"detail": "Too Many Requests"}'),
        lambda whole: (502, b"<html><body>Bad Gateway</body></html>"),
        lambda whole: (200, b"<html><body>We will be back</body></html>"),
        lambda whole: (200, whole[: len(whole) // 2]),
        lambda whole: (200, whole.replace(b"reward:-3.2", b"reward:")),
        lambda whole: (200, b""),
    ],
    ids=["rate limit", "error page", "page with code 200", "half an answer", "half a number", "nothing"],
)
def test_a_reward_endpoint_in_trouble_is_asked_again(server, judge, finished, hosted, trouble):
    whole = rewarded("reward:-3.2", hosted)
    server.script = [trouble(whole), (200, whole)]
    assert values(judge(mode=JudgeMode.reward), [finished("So.")]) == [-3.2]
    assert len(server.asked) == 2
    server.script = [trouble(whole)]
    with pytest.raises(TrainingError, match="no score was made up"):
        values(judge(mode=JudgeMode.reward, retries=1), [finished("No.")])


def test_a_reward_endpoint_of_other_numbers_says_which(server, judge, finished):
    server.script = [(200, rewarded("helpfulness:1.6,correctness:1.7,verbosity:0.9", hosted=False))]
    with pytest.raises(TrainingError, match=r"no number 'reward', only helpfulness, correctness, verbosity \(set"):
        values(judge(mode=JudgeMode.reward, retries=0), [finished("So.")])


def test_questions_go_out_together_in_order_and_equal_ones_once(server, judge, finished):
    server.delay = 0.05
    server.script = [lambda body: (200, chat(f"Score: {body['messages'][0]['content'][-1]}"))]
    texts = [str(number) for number in range(10)] * 3
    found = values(judge(rubric="{completion}", concurrency=5), [finished(text) for text in texts])
    assert found == [number / 10 for number in range(10)] * 3
    assert len(server.asked) == 10
    assert 2 <= server.most_under_way <= 5


def test_replies_are_kept_between_runs_that_share_a_file(server, judge, finished, tmp_path):
    cache = str(tmp_path / "shared.sqlite")
    for _ in range(2):
        assert values(judge(cache=cache), [finished("a"), finished("b")]) == [0.7, 0.7]
    assert len(server.asked) == 2
    values(judge(cache=cache, model="other"), [finished("a")])
    assert len(server.asked) == 3


def test_the_key_comes_from_the_environment_and_is_written_nowhere(server, judge, finished, monkeypatch, context):
    monkeypatch.setenv("JUDGE_KEY", "s3cret")
    values(judge(key_env="JUDGE_KEY"), [finished("a")])
    assert server.keys == ["Bearer s3cret"]
    assert not any(b"s3cret" in file.read_bytes() for file in context.folder.iterdir())
    server.script = [(401, b"wrong key")]
    with pytest.raises(TrainingError) as caught:
        values(judge(key_env="JUDGE_KEY"), [finished("b")])
    assert "HTTP 401 Unauthorized: wrong key" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert len(server.asked) == 2, "a refused key is not tried again"


@pytest.mark.parametrize("key", ["s3c\nret", "s3cr€t"])
def test_a_key_that_cannot_be_sent_is_not_shown(server, judge, finished, monkeypatch, key):
    monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(TrainingError, match="the key in JUDGE_KEY") as caught:
        values(judge(key_env="JUDGE_KEY"), [finished("a")])
    assert "s3c" not in str(caught.value)
    assert server.asked == []


def test_waiting_leaves_the_generator_of_training_alone(server, judge, finished):
    server.script = [(503, b""), GOOD]
    before = random.getstate()
    assert values(judge(), [finished("a")]) == [0.5]
    assert random.getstate() == before


def test_importing_the_judge_loads_no_client():
    code = "import sys, rlpipe.rewards.judge.judge; print({'httpx2', 'openai', 'tenacity', 'torch'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


GOOD = (200, chat("Score: 5"))


@pytest.mark.parametrize(
    "bad",
    [
        (429, b"slow down"),
        (500, b"oh"),
        (503, b""),
        (200, b"<html>garbage"),
        (200, b"{}"),
        (200, b'{"choices": []}'),
        (200, b'{"choices": 1}'),
        (200, b"\xff\xfe"),
        (200, chat(None)),
        (200, chat("Score: 3 \ud800")),
        (200, chat([{"type": "image"}])),
        (200, chat("I would rather not say")),
        (200, chat("Score: 11")),
        (200, chat("Score: nan")),
        (200, chat("late. Score: 1"), 0.6),
    ],
    ids=str,
)
def test_trouble_that_passes_is_waited_out_and_trouble_that_stays_ends_it(server, judge, finished, bad):
    server.script = [bad, GOOD]
    assert values(judge(timeout=0.3), [finished("a")]) == [0.5]
    server.script = [bad]
    with pytest.raises(TrainingError, match="no score was made up"):
        values(judge(timeout=0.3, retries=1), [finished("b")])


@pytest.mark.timeout(60)
def test_a_server_that_trickles_is_cut_off(server, judge, finished, monkeypatch):
    def trickle(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b" ")
                time.sleep(0.05)
        except OSError:
            pass

    monkeypatch.setattr(Handler, "do_POST", trickle)
    with pytest.raises(TrainingError, match="timed out"):
        values(judge(timeout=0.3, retries=0), [finished("a")])


def test_no_server_at_all(server, judge, finished):
    reward = judge(retries=1)
    reward.endpoint.url = "http://127.0.0.1:1/v1/chat/completions"
    with pytest.raises(TrainingError, match="Connection refused"):
        values(reward, [finished("a")])


def test_a_pause_stops_the_run_and_the_next_attempt_pays_only_for_what_is_missing(server, judge, finished):
    rollouts = [finished(text) for text in "abcd"]
    server.script = [lambda body: GOOD if "\nd\n" not in body["messages"][0]["content"] else (500, b"down")]
    with pytest.raises(Stopped, match="HTTP 500") as caught:
        values(judge(on_failure=OnFailure.pause, concurrency=1), rollouts)
    assert not isinstance(caught.value, RlpipeError)
    asked = len(server.asked)
    assert asked == 3 + 3
    server.script = [GOOD]
    assert values(judge(on_failure=OnFailure.pause), rollouts) == [0.5] * 4
    assert len(server.asked) == asked + 1


@pytest.mark.parametrize("on_failure", OnFailure)
def test_a_budget_holds_over_attempts(server, judge, finished, on_failure):
    settings = {"budget": 3, "on_failure": on_failure, "concurrency": 2}
    assert values(judge(**settings), [finished("a"), finished("b")]) == [0.7, 0.7]
    with pytest.raises(Stopped if on_failure is OnFailure.pause else TrainingError, match="budget of 3 calls is spent"):
        values(judge(**settings), [finished(text) for text in "abcde"])
    assert len(server.asked) == 3
    assert values(judge(**settings | {"budget": 5}), [finished(text) for text in "abcde"]) == [0.7] * 5
    assert len(server.asked) == 5


@pytest.mark.timeout(120)  # the others would wait for 50 times 30 seconds and more
def test_the_first_failure_ends_the_waiting_of_the_others(server, judge, finished):
    server.script = [lambda body: (404, b"gone") if body["messages"][0]["content"] == "x" else (503, b"")]
    reward = judge(retries=50, rubric="{completion}")
    reward.endpoint.first_wait = 30.0
    with pytest.raises(TrainingError):
        values(reward, [finished(text) for text in "abcx"])


def test_a_file_that_cannot_be_kept(judge, tmp_path):
    (tmp_path / "file").write_text("not a database, but long enough to be looked at")
    with pytest.raises(RecordError, match="a judge's replies cannot be read from there"):
        judge(cache=str(tmp_path / "file"))


@pytest.mark.slow
def test_a_run_that_paused_for_its_budget_goes_on_and_ends_as_one_that_never_did(server, tmp_path, monkeypatch):
    from rlpipe.run.run import run
    from tests.composed import compose

    monkeypatch.setenv("RLPIPE_STORE", str(tmp_path / "store"))
    server.script = [lambda body: (200, chat(f"Score: {len(body['messages'][0]['content']) % 11}"))]
    asked = [
        *("model=blank", "method=rloo", "dataset=countdown", "dataset.sample_size=64", "reward=judge"),
        *("reward.judge.model=m", f"reward.judge.url=http://127.0.0.1:{server.server_port}/v1"),
        *("reward.judge.on_failure=pause", "evaluation=none", "method.max_steps=4", "checkpoint.every=1"),
        *("log.progress=false", "hardware.device=cpu", "reward.judge.rubric='{completion}'"),
    ]

    def go(at: str, *more: str) -> dict:
        overrides = [*asked, *more, f"run_dir='{tmp_path / at}'"]
        run(compose(*overrides), overrides)
        return {file.name: file.read_bytes() for file in (tmp_path / at / "model").glob("*.safetensors")}

    whole = go("whole")
    paid = len(server.asked)
    with pytest.raises(Stopped, match="budget of"):
        go("paused", f"reward.judge.budget={paid // 2}")
    assert json.loads((tmp_path / "paused" / "result.json").read_text())["status"] == "stopped"
    assert len(server.asked) == paid + paid // 2
    assert go("paused", f"reward.judge.budget={paid}") == whole
    assert len(server.asked) == 2 * paid


def better(body) -> tuple[int, bytes]:
    """Prefer the answer that says `good`, whatever its place."""
    first = body["messages"][0]["content"].split("|")[1]
    return 200, chat(f"Better: {'A' if 'good' in first else 'B'}")


COMPARISON = "{prompt}|{first}|{second}|{reference}"


def pairs(finished, *texts):
    from rlpipe.rewards.judge.pairwise import Pair

    return [Pair(finished("", "Why {first}?", reference="So.").prompt, first, second) for first, second in texts]


def test_two_answers_are_compared_in_both_orders(server, judge, finished):
    from rlpipe.rewards.judge.pairwise import Choice, compare

    server.script = [better]
    reward = judge(comparison=COMPARISON)
    assert reward.compares
    assert reward.columns == ("reference",)
    verdicts = compare(reward, pairs(finished, ("good {second}", "bad"), ("bad", "good")))
    assert [one.winner for one in verdicts] == [Choice.first, Choice.second]
    questions = {body["messages"][0]["content"] for body in server.asked}
    assert "Why {first}?|good {second}|bad|So." in questions
    assert "Why {first}?|bad|good {second}|So." in questions
    assert reward.calls == len(server.asked) == 4
    compare(reward, pairs(finished, ("bad", "good")))
    assert len(server.asked) == 4, "replies are kept"


def test_a_comparison_that_stays_unreadable_is_none_and_is_not_asked_again(server, judge, finished):
    server.script = [lambda body: better(body) if "odd" not in str(body) else (200, chat("Hm."))]
    for _ in range(2):
        found = judge(comparison=COMPARISON, retries=1).prefer(pairs(finished, ("good", "bad"), ("odd", "good")))
        assert [one.value if one else None for one in found] == ["first", None]
    assert len(server.asked) == 1 + 2


def test_scores_that_one_can_do_without(server, judge, finished):
    server.script = [lambda body: GOOD if "odd" not in str(body) else (200, chat("Hm."))]
    reward = judge(retries=1)
    assert [one and one.value for one in reward.try_score([finished("a"), finished("odd")])] == [0.5, None]
    asked = len(server.asked)
    with pytest.raises(TrainingError, match="no score was made up"):
        reward.score([finished("odd")])
    assert len(server.asked) == asked + 2, "who cannot do without it asks again"
    server.script = [GOOD]
    assert values(reward, [finished("odd")]) == [0.5]


def test_a_server_that_is_down_is_no_odd_reply(server, judge, finished):
    server.script = [lambda body: (200, chat("Hm.")) if "odd" in str(body) else (503, b"")]
    with pytest.raises(TrainingError, match="HTTP 503"):
        judge(retries=1, concurrency=1).try_score([finished("odd"), finished("a")])


def test_a_reward_endpoint_compares_nothing(judge):
    assert not judge(mode=JudgeMode.reward).compares
