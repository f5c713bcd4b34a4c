"""Hydra composes more quickly than by itself, and the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import omegaconf.base
import pytest
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from rlpipe.config.hydra import compose_raw, register
from rlpipe.datasets.smoltalk import SmolTalkConfig

PATCHED = [
    (ConfigRepository, "load_config"),
    (ConfigLoaderImpl, "_embed_result_config"),
    (defaults_list, "_create_interpolation_map"),
    (omegaconf.base, "parse"),
]


@pytest.fixture
def hydras_own(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Put Hydra's own functions back."""
    register()
    for place, name in PATCHED:
        quick = getattr(place, name)
        own = quick.__wrapped__
        monkeypatch.setattr(place, name, staticmethod(own) if name.startswith("_embed") else own)
    return monkeypatch


def types(node: DictConfig, path: str = "") -> dict[str, object]:
    """Return the dataclasses behind a config, by their places."""
    found: dict[str, object] = {path: OmegaConf.get_type(node)}
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not (child._is_none() or child._is_missing()):
            found |= types(child, f"{path}.{key}")
    return found


@pytest.mark.parametrize(
    "overrides",
    [
        ["evaluation=[preference,perplexity]", "reward=[length]", "reward.length.weight=0.5", "tracker=wandb"],
        ["experiment=countdown_rloo", "hydra/launcher=slurm", "method.max_steps=3"],
    ],
)
def test_what_is_composed_is_what_hydra_composes(hydras_own, overrides):
    slow = compose_raw(overrides, with_hydra=True)
    hydras_own.undo()
    for _ in range(2):  # read, and copied
        quick = compose_raw(overrides, with_hydra=True)
        assert OmegaConf.to_container(quick) == OmegaConf.to_container(slow)
        assert types(quick) == types(slow)
        quick.dataset.sample_size = 77  # nobody else's


def test_what_was_edited_since_is_read_again(tmp_path: Path):
    file = tmp_path / "dataset" / "mine.yaml"
    file.parent.mkdir()
    for rows in (10, 200):
        file.write_text(f"defaults: [smoltalk]\nsample_size: {rows}\n")
        assert compose_raw(["dataset=mine", "method=sft"], [tmp_path]).dataset.sample_size == rows


def test_a_node_that_is_stored_anew_is_loaded_anew():
    register()
    for rows in (10, 200):
        node = OmegaConf.create({"defaults": ["smoltalk"], "sample_size": rows})
        ConfigStore.instance().store(group="dataset", name="stored", node=node, package="dataset")
        try:
            assert compose_raw(["dataset=stored", "method=sft"]).dataset.sample_size == rows
        finally:
            del ConfigStore.instance().repo["dataset"]["stored.yaml"]


def test_a_node_of_a_class_that_cannot_be_pickled_is_composed_too():
    @dataclass
    class Local(SmolTalkConfig):
        sample_size: int | None = 3

    register()
    ConfigStore.instance().store(group="dataset", name="local", node=Local(name="smoltalk"), package="dataset")
    try:
        for _ in range(2):
            config = compose_raw(["dataset=local", "method=sft"])
            assert OmegaConf.get_type(config.dataset) is Local
            assert config.dataset.sample_size == 3
    finally:
        del ConfigStore.instance().repo["dataset"]["local.yaml"]
