"""`rlpipe report`, as it is typed."""

import json
import subprocess
import sys

import pytest

from rlpipe.cli import main as cli
from rlpipe.core.errors import RlpipeError
from rlpipe.report import write
from tests.report.recorded import recorded


@pytest.fixture
def sweep(tmp_path):
    for place, (beta, seed) in enumerate([(0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1)]):
        scores = [float((example * 7 + seed) % 10 < 10 * beta + 3) for example in range(40)]
        recorded(tmp_path / "sweep" / str(place), scores, seed=seed, method__beta=beta)
    return tmp_path / "sweep"


def typed(capsys, *arguments):
    """Run a command line; returns its exit code and what it wrote."""
    code = cli.status(["report", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_the_table_goes_to_standard_output_and_the_page_into_the_folder(sweep, capsys):
    code, out, err = typed(capsys, sweep)
    assert code == 0
    assert "beta=0.2" in out
    assert "verdict" in out
    assert f"written: {sweep / 'report.html'}" in err.replace("\n", "")
    assert "<html" in (sweep / "report.html").read_text()


def test_several_outputs_by_their_endings(sweep, tmp_path, capsys):
    targets = [tmp_path / f"out/found{ending}" for ending in (".csv", ".md", ".json", ".html")]
    outputs = [word for target in targets for word in ("--output", target)]
    code, _, _ = typed(capsys, sweep, "--baseline", "beta=0.2", "--evaluation", "accuracy", *outputs)
    assert code == 0
    assert all(target.stat().st_size for target in targets)
    assert json.loads(targets[2].read_text())["baseline"] == "beta=0.2"
    assert not (sweep / "report.html").exists()


def test_what_can_be_mended_is_one_message(sweep, tmp_path, capsys):
    for arguments, words in (
        ([tmp_path / "absent"], "there is no such folder"),
        ([sweep, "--baseline", "beta"], "no arm is called 'beta'"),
        ([sweep, "--evaluation", "acc"], "did you mean 'accuracy'"),
        ([sweep, "--metric", "nothing"], "numbers under 'nothing'"),
        ([sweep, "--output", "x.pdf"], "no known ending"),
    ):
        code, out, err = typed(capsys, *arguments)
        assert (code, out) == (2, ""), arguments
        assert words in err, arguments
    assert not list(sweep.glob("report*"))


def test_an_unwritable_place_is_said(sweep, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, _, err = typed(capsys, sweep, "--output", tmp_path / "file" / "x.csv")
    assert code == 2
    assert "x.csv" in err


def test_build_writes_the_page_of_folders(sweep, tmp_path):
    assert write.build([sweep]) == sweep / "report.html"
    assert write.build([sweep / "0", sweep / "1"], tmp_path / "two.html").exists()
    with pytest.raises(RlpipeError):
        write.build([tmp_path / "absent"])


@pytest.mark.slow
def test_neither_torch_nor_transformers_is_needed(sweep):
    code = (
        "import sys\n"
        "from rlpipe.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n    print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, "report", str(sweep)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
