"""Conformance checks for plugins: what rlpipe asks of each kind, as a package's own tests run it.

    from rlpipe.testing import check_dataset, check_engine, check_environment, check_evaluation, check_launcher
    from rlpipe.testing import check_method, check_reward, check_tool

    def test_my_dataset():
        check_dataset(MyDataset)

    def test_my_method(tmp_path):
        check_method(MyMethod, tmp_path)      # trains two steps of a small random model: seconds, no network

    def test_my_reward():
        check_reward(MyReward)

    def test_my_tool():
        check_tool(MyTool, {"word": "straw"})     # a call that must succeed

    def test_my_environment():
        check_environment(MyEnvironment, ["left", "right"])  # what is said in it, over and over

    def test_my_evaluation(tmp_path):
        check_evaluation(MyEvaluation, tmp_path)  # measures a small random model before and after two steps

    def test_my_engine(tmp_path):
        check_engine(MyEngine, tmp_path)      # draws from a small random model, and from what becomes of it

    def test_my_launcher(tmp_path):
        check_launcher(MyLauncher, tmp_path)  # runs six jobs that do next to nothing

Each raises AssertionError with what is wrong and where. rlpipe's own plugins pass the same checks.
"""

from rlpipe.testing.config import HEAVY, check_config, check_light, explains_itself, unstated
from rlpipe.testing.engines import check_engine
from rlpipe.testing.environments import check_environment
from rlpipe.testing.launchers import check_launcher
from rlpipe.testing.plugins import check_dataset, check_evaluation, check_method, check_reward, check_tool

__all__ = [
    "HEAVY",
    "check_config",
    "check_dataset",
    "check_engine",
    "check_environment",
    "check_evaluation",
    "check_launcher",
    "check_light",
    "check_method",
    "check_reward",
    "check_tool",
    "explains_itself",
    "unstated",
]
