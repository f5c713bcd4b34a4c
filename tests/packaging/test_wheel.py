"""The wheel and the sdist: they hold all that a run needs, and run from an empty directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import rlpipe

ROOT = Path(rlpipe.__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SMALL = (
    *("model=blank", "method=sft", "dataset=warmstart", "dataset.sample_size=64", "dataset.test_limit=8"),
    *("method.max_steps=2", "method.batch_size=4", "method.micro_batch_size=2", "log.progress=false"),
)


def test_extras_are_named_and_none_is_needed_twice():
    extras = PROJECT["optional-dependencies"]
    parts = {
        "tensorboard",
        "mlflow",
        "quant",
        "eval",
        "optuna",
        "vllm",
        "math",
        "reasoning_gym",
        "gem",
        "textarena",
        "ray",
        "sagemaker",
    } | {"gguf"}
    assert set(extras) == parts | {"dev"}
    base = {name(requirement) for requirement in PROJECT["dependencies"]}
    assert not base & {name(requirement) for extra in extras.values() for requirement in extra}
    assert {"pytest", "ruff", "mypy", "build", "hatchling"} <= {name(requirement) for requirement in extras["dev"]}


def name(requirement: str) -> str:
    return requirement.split(">")[0].split("<")[0].split("[")[0].strip()


def build(folder: Path, *arguments: str, source: Path = ROOT) -> Path:
    """Build with the tools of this environment (no network) and return the file that was made."""
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), *arguments, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"), "--wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the wheel; all else it borrows from the environment of the tests."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # behind the fresh environment's own packages, and without the .pth files that lead to the checkout
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed))
    return python


def run(python: Path, folder: Path, *arguments: str) -> str:
    """Run rlpipe in a folder; it must succeed."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    environment["RLPIPE_STORE"] = str(folder / "store")
    command = [str(python), "-m", "rlpipe", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_wheel_holds_conf_and_tokenizer_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    options = {str(file.relative_to(ROOT)) for file in (ROOT / "conf").rglob("*.yaml")}
    assert {f"rlpipe/{option}" for option in options} <= set(names)
    assert {f"rlpipe/models/tokenizer/{file}" for file in ("tokenizer.json", "tokenizer_config.json")} <= set(names)
    assert "rlpipe/models/chatml.jinja" in names
    tops = {entry.split("/")[0] for entry in names}
    assert tops == {"rlpipe", f"rlpipe-{PROJECT['version']}.dist-info"}


@pytest.mark.slow
def test_a_wheel_from_the_sdist_is_the_same(wheel, tmp_path):
    sdist = build(tmp_path / "sdist", "--sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = (path for path in tmp_path.iterdir() if path.name.startswith("rlpipe-"))
    again = build(tmp_path / "again", "--wheel", source=unpacked)
    ours, theirs = (
        {info.filename: info.CRC for info in zipfile.ZipFile(file).infolist() if "dist-info" not in info.filename}
        for file in (wheel, again)
    )
    assert ours == theirs


@pytest.mark.slow
def test_an_installed_wheel_runs_from_an_empty_directory(installed, tmp_path):
    where = subprocess.run(
        [installed, "-c", "import rlpipe, rlpipe.core.paths; print(rlpipe.__file__, rlpipe.core.paths.conf_dir())"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    ).stdout
    assert str(ROOT) not in where
    assert "rlpipe/conf" in where
    assert "chat_dpo" in run(installed, tmp_path, "--help")
    assert "name: rloo" in run(installed, tmp_path, "--cfg", "job")
    assert "all checks passed" in run(installed, tmp_path, "until=check")
    assert list(tmp_path.iterdir()) == []
    run(installed, tmp_path, *SMALL, "run_dir=first")
    assert json.loads((tmp_path / "first" / "result.json").read_text())["status"] == "ok"


@pytest.mark.slow
def test_the_script_of_the_wheel_is_rlpipe(installed, tmp_path):
    done = subprocess.run(
        [installed.with_name("rlpipe"), "--version"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert PROJECT["version"] in done.stdout
