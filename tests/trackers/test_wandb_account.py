"""What W&B's client finds of keys and settings, told before it is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlpipe.trackers import wandb_account
from rlpipe.trackers.wandb import Wandb, WandbConfig

KEY = "a1" * 20
LOCAL = "http://localhost:8080"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any account."""
    for name in ("MODE", "API_KEY", "BASE_URL", "IDENTITY_TOKEN_FILE", "CONFIG_DIR"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


FOUND = {
    "key": ({"WANDB_API_KEY": KEY}, {}),
    "key of a local server": ({"WANDB_API_KEY": f"local-{KEY}"}, {}),
    "token": ({"WANDB_IDENTITY_TOKEN_FILE": "~/token"}, {"token": "x"}),
    "login": ({}, {".netrc": f"machine api.forge.coreweave.com login user password {KEY}"}),
    "login by an older client": ({}, {".netrc": f"machine api.wandb.ai login user password {KEY}"}),
    "login on Windows": ({}, {"_netrc": f"machine api.wandb.ai login user password {KEY}"}),
    "login elsewhere": ({"NETRC": "~/keys"}, {"keys": f"machine api.wandb.ai login user password {KEY}"}),
    "login to a local server": (
        {"WANDB_BASE_URL": LOCAL},
        {".netrc": f"machine localhost:8080 login user password {KEY}"},
    ),
    "server in the user's settings": (
        {},
        {
            ".config/wandb/settings": f"[default]\nbase_url = {LOCAL}\n",
            ".netrc": f"machine localhost:8080 login user password {KEY}",
        },
    ),
    "key in the folder's settings": ({}, {"work/wandb/settings": f"[default]\napi_key = {KEY}\n"}),
    "settings elsewhere": ({"WANDB_CONFIG_DIR": "~/mine"}, {"mine/settings": f"[default]\napi_key = {KEY}\n"}),
    "offline by the folder's settings": ({}, {"work/wandb/settings": "[default]\nmode = offline\n"}),
    "offline by environment": ({"WANDB_MODE": "offline"}, {"work/wandb/settings": "[default]\nmode = online\n"}),
}
LACKING = {
    "nothing": ({}, {}, "no key of W&B is known here"),
    "login to another server": ({"WANDB_BASE_URL": LOCAL}, FOUND["login"][1], f"no key for {LOCAL}"),
    "login to another port": ({"WANDB_BASE_URL": LOCAL}, {".netrc": f"machine localhost password {KEY}"}, "no key for"),
    "half a key": ({"WANDB_API_KEY": KEY[:10]}, {}, "the key in WANDB_API_KEY is none"),
    "two accounts": ({"WANDB_API_KEY": KEY, "WANDB_IDENTITY_TOKEN_FILE": "x"}, {}, "only one may be"),
    "no token": ({"WANDB_IDENTITY_TOKEN_FILE": "/gone"}, {}, "there is no file /gone"),
    "damaged files": ({}, {".netrc": "machine", ".config/wandb/settings": "\x00["}, "no key of W&B"),
}


@pytest.mark.parametrize("name", [*FOUND, *LACKING])
def test_an_account_is_known_as_the_client_knows_it(home, monkeypatch, name):
    environment, files, *lacking = {**FOUND, **LACKING}[name]
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    for file, text in files.items():
        write(home / file, text)
    problems = [problem.what for problem in Wandb(WandbConfig(name="wandb")).problems()]
    assert len(problems) == len(lacking)
    assert all(words in problem for words, problem in zip(lacking, problems, strict=True))


def test_the_folders_settings_go_before_the_users(home):
    write(home / ".config/wandb/settings", "[default]\nmode = online\nbase_url = http://a\n")
    write(home / "work/wandb/settings", "[default]\nmode = offline\n")
    assert wandb_account.setting("mode", "online") == "offline"
    assert wandb_account.setting("base_url", "") == "http://a"
