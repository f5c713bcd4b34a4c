import pytest

from rlpipe.config.kinds import Precision
from rlpipe.core.errors import ConfigError
from rlpipe.training.offline.arguments import accumulation, extra_problems, training_arguments


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "steps"), [(32, 8, 1, 4), (32, 8, 2, 2), (32, 8, 4, 1), (8, 8, 1, 1), (6, 1, 3, 2)]
)
def test_accumulation_makes_up_the_batch(make, batch, micro, processes, steps):
    config = make["run_config"](make["method"]("sft", batch_size=batch, micro_batch_size=micro))
    assert accumulation(config, processes) == steps


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "fix"),
    [
        (10, 4, 1, "set method.micro_batch_size=2, or method.batch_size=12"),
        (4, 8, 1, "set method.micro_batch_size=4, or method.batch_size=8"),
        (3, 2, 2, "set method.batch_size=4"),
        (0, 2, 1, "set 1 or more"),
    ],
)
def test_batch_that_cannot_be_made_up_is_refused_with_sizes_that_can(make, batch, micro, processes, fix):
    config = make["run_config"](make["method"]("sft", batch_size=batch, micro_batch_size=micro))
    with pytest.raises(ConfigError) as caught:
        accumulation(config, processes)
    assert caught.value.problems[0].fix == fix


def test_config_becomes_the_librarys_arguments(make, tmp_path):
    method = make["method"]("dpo", batch_size=16, micro_batch_size=4, warmup=0.25, schedule="linear", beta=0.3)
    config = make["run_config"](method, every=7, seed=5)
    config.model.precision = Precision.bfloat16
    arguments = training_arguments(method, config, tmp_path, 2)
    assert (arguments.gradient_accumulation_steps, arguments.per_device_train_batch_size) == (2, 4)
    assert (arguments.bf16, arguments.gradient_checkpointing, arguments.use_cpu) == (True, False, True)
    assert (arguments.save_steps, arguments.save_total_limit, arguments.seed, arguments.data_seed) == (7, None, 5, 5)
    assert (arguments.lr_scheduler_type, arguments.get_warmup_steps(40)) == ("linear", 10)
    assert (arguments.loss_type, arguments.beta, arguments.max_length) == (["sigmoid"], 0.3, 256)
    assert arguments.precompute_ref_log_probs
    assert arguments.output_dir == str(tmp_path / "checkpoints")


def test_float32_is_float32(make, tmp_path):
    method = make["method"]("sft")
    assert not training_arguments(method, make["run_config"](method), tmp_path).bf16


def test_extra_reaches_the_library(make, tmp_path):
    method = make["method"]("dpo", extra={"adam_beta2": 0.95, "ld_alpha": 0.5})
    arguments = training_arguments(method, make["run_config"](method), tmp_path)
    assert (arguments.adam_beta2, arguments.ld_alpha) == (0.95, 0.5)


def test_extra_keys_that_are_unknown_or_taken_are_problems(make):
    extra = {"adam_beta_2": 0.9, "learning_rate": 1, "beta": 1, "save_steps": 3}
    problems = {problem.where: problem.fix for problem in extra_problems(make["method"]("dpo", extra=extra))}
    assert problems["method.extra.adam_beta_2"].startswith("did you mean 'adam_beta2'?")
    assert problems["method.extra.learning_rate"] == "set method.learning_rate instead"
    assert problems["method.extra.beta"] == "set method.beta instead"
    assert problems["method.extra.save_steps"] == "set checkpoint.every instead"


def test_value_that_the_library_refuses_is_a_config_error(make, tmp_path):
    method = make["method"]("sft", extra={"optim": "adamx"})
    with pytest.raises(ConfigError, match=r"method\.extra.*adamx"):
        training_arguments(method, make["run_config"](method), tmp_path)


def test_every_field_that_rlpipe_sets_is_refused_in_extra(make, tmp_path):
    from rlpipe.training.offline import arguments

    for name in ("sft", "reward_model", "dpo", "kto", "orpo", "simpo"):
        method = make["method"](name)
        config = make["run_config"](method)
        given = {**arguments._of_run(config, tmp_path), **arguments._batches(method, config, 1), **method.arguments()}
        free = {"dataloader_num_workers", "dataloader_pin_memory", "ddp_find_unused_parameters"}
        assert set(given) - free <= set(arguments.SET_BY_RLPIPE) | set(method.library_fields)
