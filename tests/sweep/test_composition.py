"""The quick way to compose many arms gives what Hydra gives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from rlpipe.config.overrides import as_options
from rlpipe.core.paths import conf_dir
from rlpipe.sweep.composition import Composer
from rlpipe.sweep.discovery import register

pytestmark = pytest.mark.slow

HYDRAS = ["hydra.sweep.subdir=arm_${hydra.job.num}", "hydra.job.chdir=true"]


@pytest.fixture(scope="module")
def composer() -> Iterator[Composer]:
    register()
    hydra = Hydra.create_main_hydra_file_or_module(__file__, None, str(conf_dir()), "rlpipe")
    master = hydra.compose_config("config", ["seed=0,1", *HYDRAS], RunMode.MULTIRUN, with_log_configuration=False)
    yield Composer(hydra.config_loader, master)
    GlobalHydra.instance().clear()


def plain(config: DictConfig) -> object:
    return OmegaConf.to_container(config, resolve=False)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["seed=3", "method=kto", "method.learning_rate=1e-4"],
        ["method.learning_rate=1e-4", "method=kto", "seed=3"],
        ["method=rloo", "reward=[countdown,length]", "reward.length.weight=0.1", "dataset=countdown"],
        ["+method.extra={max_prompt_length: 9}", "~evaluation"],
        ["experiment=piqa_orpo", "seed=1"],
        ["after=[method=sft,seed=3]", "tracker=tensorboard", "run_dir='a/b c'"],
        ["++log.every=3", "model={revision: main}"],
    ],
)
def test_it_equals_hydras_own(composer: Composer, overrides: list[str]) -> None:
    lines = as_options(overrides)
    for _ in range(2):  # made, and copied
        quick = composer.compose(lines)
        slow = composer.loader.load_sweep_config(composer.master, lines)
        assert plain(quick) == plain(slow)
        assert OmegaConf.get_type(quick) is OmegaConf.get_type(slow)
        assert OmegaConf.is_struct(quick) == OmegaConf.is_struct(slow)


@pytest.mark.parametrize(
    "overrides",
    [
        ["method=kti"],
        ["method.lerning_rate=1"],
        ["seed=x"],
        ["seed"],
        ["seed=1,2"],
        ["+seed=1"],
        ["~nothing"],
        ["method@x=dpo"],
        ["hydra.job.nome=1"],
    ],
)
def test_its_errors_are_hydras_own(composer: Composer, overrides: list[str]) -> None:
    with pytest.raises(HydraException) as slow:
        composer.loader.load_sweep_config(composer.master, list(overrides))
    for _ in range(2):
        with pytest.raises(HydraException) as quick:
            composer.compose(overrides)
        assert (type(quick.value), str(quick.value)) == (type(slow.value), str(slow.value))
        assert str(quick.value.__cause__) == str(slow.value.__cause__)


def test_an_arm_is_no_other_arms(composer: Composer) -> None:
    first = composer.compose(["seed=1"])
    first.log.every = 77
    assert composer.compose(["seed=1"]).log.every != 77
