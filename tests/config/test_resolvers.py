"""Values of the config files that depend on the run's model."""

from __future__ import annotations

import pytest

from rlpipe.config.compose import compose

REAL = "model=qwen2.5-0.5b"


@pytest.mark.parametrize(
    ("overrides", "rate"),
    [
        (["method.learning_rate=${scaled:1e-6}"], 1.5e-4),
        ([REAL, "method.learning_rate=${scaled:1e-6}"], 1e-6),
        ([REAL, "model.lora.rank=8", "method.learning_rate=${scaled:1e-6}"], 1e-5),
        ([REAL, "model.lora.rank=8", "model.lora.learning_rate_scale=4"], 4e-6),
        (["model.lora.rank=8"], 1.5e-4),
        (["method.learning_rate=1e-6"], 1e-6),
        ([REAL, "model.lora.rank=8", "method.learning_rate=1e-6"], 1e-6),
    ],
)
def test_a_rate_is_scaled_where_the_config_says_so(overrides, rate):
    assert compose(*overrides).method.learning_rate == pytest.approx(rate)


@pytest.mark.parametrize(
    ("model", "steps"), [("model=tiny", 7), ("model=blank", 7), (REAL, 9000), ("model=smollm2-135m", 9000)]
)
def test_a_toy_takes_the_first_value_and_a_real_model_the_second(model, steps):
    assert compose(model, "method.max_steps=${sized:7,9000}").method.max_steps == steps


def test_a_length_fits_into_the_model():
    assert compose("method.max_length=${fitting:2048}").method.max_length == 512
    assert compose(REAL, "method.max_length=${fitting:2048}").method.max_length == 2048
