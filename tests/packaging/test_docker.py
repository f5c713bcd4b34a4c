"""The image: nobody builds it in the tests, so that its steps are read, and are the script that CI runs."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def steps() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, with lines that go on joined and comments left out."""
    text = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    found = [line.partition(" ")[::2] for line in lines if line.strip()]
    assert {word for word, _ in found} <= {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "CMD"}
    return found


def readme(name: str) -> str:
    done = subprocess.run([ROOT / ".ci" / "readme", "-n", name], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_script_types_what_the_readme_says():
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.M)
    assert readme("install") + readme("run") == blocks[0]
    assert readme("tests") == blocks[1]
    assert "pip install" in readme("install")


@pytest.mark.parametrize("name", ["install", "run", "tests"])
def test_ci_uses_the_script_in_a_clean_environment(name):
    assert re.search(rf"^\.ci/readme {name}\b", CI, flags=re.MULTILINE)
    assert "rm -rf .venv\n" in CI
    assert "pip install" not in CI


def test_the_image_installs_by_the_same_script_and_runs_the_first_command():
    found = steps()
    assert ("RUN", "PIP_NO_CACHE_DIR=1 .ci/readme install") in found
    assert found[-1] == ("CMD", '[".ci/readme", "run"]')
    assert not any("pip install" in what for _, what in found)


def test_one_argument_chooses_between_processors_and_gpus():
    froms = [what for word, what in steps() if word == "FROM"]
    assert [one.partition(" AS ")[2] for one in froms] == ["cpu", "cuda", ""]
    assert froms[-1] == "${DEVICE}"
    assert steps()[0] == ("ARG", "DEVICE=cpu")
    assert all(one.startswith("python:${PYTHON}-slim-") for one in froms[:2])
    (version,) = (what.removeprefix("PYTHON=") for word, what in steps() if what.startswith("PYTHON="))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert tuple(map(int, version.split("."))) >= tuple(map(int, project["requires-python"].strip(">=").split(".")))


def test_the_environment_of_the_build_s_machine_is_no_part_of_the_image():
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv", "multirun"} <= set(left_out)
    assert not any(one.startswith((".ci", "docker", "rlpipe", "conf", "README")) for one in left_out)
