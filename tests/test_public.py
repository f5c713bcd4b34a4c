"""The public surface, and the shape of the code: names, documentation, and what may be imported where."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import rlpipe
from rlpipe import testing
from rlpipe.config import plugins, schema
from rlpipe.config.fields import declarations
from rlpipe.config.kinds import LoraConfig
from rlpipe.core import errors
from tests.house.parsed import parsed

PACKAGE = Path(rlpipe.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_FIELDS = 20

SCHEMAS = sorted(
    {
        *(cls for _, cls in inspect.getmembers(schema, dataclasses.is_dataclass)),
        *(plugin.cls.Config for known in plugins.table().values() for plugin in known.values()),
        LoraConfig,
    },
    key=lambda cls: cls.__qualname__,
)


PUBLIC = [
    "Artifact",
    "Batch",
    "Case",
    "Changes",
    "Chat",
    "Choice",
    "Completion",
    "ConfigError",
    "DPO",
    "DPOConfig",
    "DataError",
    "Dataset",
    "DatasetConfig",
    "Environment",
    "EnvironmentConfig",
    "Evaluation",
    "EvaluationConfig",
    "EvaluationContext",
    "Example",
    "GRPO",
    "GRPOConfig",
    "Head",
    "JobStatus",
    "Labelled",
    "Launcher",
    "LauncherConfig",
    "Loaded",
    "Loss",
    "Method",
    "MethodConfig",
    "Model",
    "ModelConfig",
    "ModelError",
    "OfflineConfig",
    "OfflineMethod",
    "OnlineConfig",
    "OnlineMethod",
    "PluginError",
    "Preference",
    "Problem",
    "Prompt",
    "Reward",
    "RewardConfig",
    "RewardContext",
    "RlpipeError",
    "Rollout",
    "RunConfig",
    "RunIdentity",
    "SFT",
    "SFTConfig",
    "SamplingConfig",
    "Score",
    "SharedPromptConfig",
    "Step",
    "StoringTrackerConfig",
    "Text",
    "Tokens",
    "Tool",
    "ToolConfig",
    "Tracker",
    "TrackerConfig",
    "changing",
    "complete",
    "compose",
    "run",
    "setting",
]


def fresh(program: str) -> str:
    """Run a program in an interpreter of its own and return what it prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_package_offers_these_names():
    assert sorted(rlpipe.__all__) == PUBLIC
    assert set(rlpipe.__all__) <= set(dir(rlpipe))
    for name in rlpipe.__all__:
        assert callable(getattr(rlpipe, name)), name
    with pytest.raises(AttributeError, match="no attribute 'Rewardd'"):
        rlpipe.__getattr__("Rewardd")


def test_type_checkers_see_the_same_names_from_the_same_places():
    tree = parsed(PACKAGE / "__init__.py")
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {one.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for one in node.names}
    assert seen == rlpipe._MODULES
    assert (PACKAGE / "py.typed").is_file()


def test_importing_the_package_is_light():
    program = "import sys, rlpipe; print([name for name in sys.modules if name.startswith('rlpipe')])"
    assert fresh(program) == "['rlpipe']"
    given = sorted(set(PUBLIC) - {"Batch", "Loss", "Tokens"})
    heavy = f"import sys, rlpipe; [getattr(rlpipe, n) for n in {given}]; print(set({testing.HEAVY}) & set(sys.modules))"
    assert fresh(heavy) == "set()"


@pytest.mark.parametrize("first", ["import rlpipe.run.run", "import rlpipe.run.build", "from rlpipe import run"])
def test_the_room_of_a_run_can_be_called_whatever_was_imported_first(first):
    program = f"{first}\nimport rlpipe\nprint(callable(rlpipe.run), rlpipe.run)"
    assert fresh(program).startswith("True <module 'rlpipe.run'")


@pytest.mark.slow
def test_the_room_of_a_run_called_runs():
    fresh("import rlpipe; rlpipe.run(rlpipe.compose('model=blank', 'until=check'))")


def test_no_module_takes_names_from_the_package_itself():
    takers = [
        str(file.relative_to(PACKAGE))
        for file in MODULES
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ImportFrom) and node.module == "rlpipe"
        if {name.name for name in node.names} & set(rlpipe.__all__)
    ]
    assert takers == []


def test_every_module_says_what_it_is_for():
    trees = {str(file.relative_to(PACKAGE)): parsed(file) for file in MODULES}
    silent = [name for name, tree in trees.items() if tree.body and not ast.get_docstring(tree)]
    assert silent == []


@pytest.mark.parametrize("cls", SCHEMAS, ids=lambda cls: cls.__name__)
def test_configs_are_small_and_documented(cls):
    told = declarations(cls)
    own = [name for name, declared in told.items() if declared.owner is cls]
    assert len(own) <= MOST_FIELDS
    assert cls.__doc__
    assert not cls.__doc__.startswith(f"{cls.__name__}("), "the dataclass has no docstring of its own"
    for field in dataclasses.fields(cls):
        assert told[field.name].doc or testing.explains_itself(field), f"put a string under {cls.__name__}.{field.name}"


def test_no_module_is_a_drawer():
    names = {part for file in MODULES for part in file.relative_to(PACKAGE).with_suffix("").parts}
    assert not names & {"utils", "util", "common", "helpers", "misc"}


def test_every_error_is_drawn_in_the_tree():
    raised = {
        name
        for name, cls in vars(errors).items()
        if inspect.isclass(cls) and issubclass(cls, Exception) and name[0] != "_"
    }
    lines = [line.lstrip(" ├└─") for line in (errors.__doc__ or "").splitlines()]
    drawn = {line.split()[0] for line in lines if line}
    assert raised <= drawn
    assert all(issubclass(vars(errors)[name], errors.RlpipeError) for name in raised - {"Stopped", "Pruned"})


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_a_kind_is_one_word_everywhere(kind):
    base = importlib.import_module(f"rlpipe.{kind}s.base")
    assert dataclasses.is_dataclass(getattr(base, f"{kind.capitalize()}Config"))
    for target in plugins.BUILT_IN[kind].values():
        assert target.startswith(f"rlpipe.{kind}s.")


def test_the_checks_for_plugins_are_listed():
    assert testing.__all__ == sorted(testing.__all__)
    checks = {name for name in vars(testing) if name.startswith("check_")}
    assert checks <= set(testing.__all__)
    assert all(hasattr(testing, name) for name in testing.__all__)
