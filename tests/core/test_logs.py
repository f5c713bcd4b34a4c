"""What libraries say goes to log.txt, what matters to the terminal."""

import logging
import warnings
from pathlib import Path

import pytest

from rlpipe.core.errors import RecordError
from rlpipe.core.logs import quiet


def speak():
    import datasets
    from transformers.utils import logging as transformers_logging

    transformers_logging.get_logger("transformers.trainer").info("note of transformers")
    transformers_logging.get_logger("transformers.trainer").warning("warning of transformers")
    logging.getLogger("torch.nn").warning("warning of torch")
    logging.getLogger("trl.trainer").warning("warning of trl")
    logging.getLogger("datasets.x").error("error of datasets")
    warnings.warn("deprecated thing", FutureWarning, stacklevel=1)
    logging.getLogger("rlpipe.records.checkpoints").warning("checkpoint-3 is damaged")
    datasets.Dataset.from_dict({"a": list(range(50))}).map(lambda row: row)


def test_noise_goes_to_the_file_and_errors_to_the_terminal(tmp_path, capfd):
    with quiet(tmp_path / "log.txt"):
        speak()
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == ["error of datasets", "checkpoint-3 is damaged"]
    written = (tmp_path / "log.txt").read_text()
    for line in (
        *("note of transformers", "warning of transformers", "warning of torch", "warning of trl"),
        *("error of datasets", "deprecated thing", "checkpoint-3 is damaged"),
    ):
        assert line in written


def test_libraries_are_shown_on_request(tmp_path, capfd):
    with quiet(tmp_path / "log.txt", libraries=True):
        speak()
    shown = capfd.readouterr().err
    for line in ("note of transformers", "warning of trl", "FutureWarning: deprecated thing"):
        assert shown.count(line) == 1


def test_everything_is_put_back(tmp_path):
    import datasets
    from transformers.utils import logging as transformers_logging

    transformers_logging.get_verbosity()
    loggers = [logging.getLogger(name) for name in ("", "transformers", "datasets", "torch")]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    bars = datasets.are_progress_bars_disabled(), transformers_logging.is_progress_bar_enabled()

    def fail():
        with quiet(tmp_path / "log.txt"):
            assert datasets.are_progress_bars_disabled()
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fail()
    assert [(logger.level, logger.propagate, list(logger.handlers)) for logger in loggers] == before
    assert (datasets.are_progress_bars_disabled(), transformers_logging.is_progress_bar_enabled()) == bars


def test_attempts_add_to_the_same_file(tmp_path):
    for text in ("first", "second"):
        with quiet(tmp_path / "log.txt"):
            logging.getLogger("trl").warning(text)
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 2


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(RecordError, match=r"log\.txt"), quiet(tmp_path / "nowhere" / "log.txt"):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_disk_that_takes_no_line_is_said_once_and_the_run_goes_on(tmp_path, capfd):
    (tmp_path / "log.txt").symlink_to("/dev/full")
    with quiet(tmp_path / "log.txt"):
        speak()
    said = capfd.readouterr().err
    assert said.count("lines are lost ([Errno 28] No space left on device)") == 1
    assert "Traceback" not in said


def test_telemetry_is_off(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", False)
    with quiet(tmp_path / "log.txt"):
        assert huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY
