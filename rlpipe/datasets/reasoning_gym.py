"""reasoning-gym: a hundred tasks that make their own questions and score the answers (arXiv:2505.24760)."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from rlpipe.config.kinds import DatasetConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import DataError, Problem, guess
from rlpipe.core.randomness import Randomness
from rlpipe.datasets.base import Dataset, Row
from rlpipe.datasets.forms import Prompt
from rlpipe.datasets.samples.draw import draw

INSTALL = "pip install 'rlpipe[reasoning_gym]'"
SEED = 1_000_003
"""What the seeds of a split's questions lie apart by, more than any split has questions."""
TASKS = " ".join(
    (
        "ab acre advanced_geometry aiw arc_1d arc_agi base_conversion basic_arithmetic bf binary_alternation",
        "binary_matrix bitwise_arithmetic boxnet caesar_cipher calendar_arithmetic chain_sum circuit_logic codeio",
        "coin_flip color_cube_rotation complex_arithmetic count_bits count_primes countdown course_schedule",
        "cryptarithm decimal_arithmetic decimal_chain_sum dice emoji_mystery family_relationships figlet_font",
        "fraction_simplification futoshiki game_of_life game_of_life_halting gcd graph_color group_anagrams",
        "gsm_symbolic isomorphic_strings jugs kakurasu knight_swap knights_knaves largest_island lcm leg_counting",
        "letter_counting letter_jumble list_functions mahjong_puzzle manipulate_matrix maze mini_sudoku",
        "modulo_grid n_queens needle_haystack number_filtering number_format number_sequence number_sorting",
        "palindrome_generation palindrome_partitioning path_star polynomial_equations pool_matrix power_function",
        "prime_factorization products propositional_logic puzzle24 quantum_lock ransom_note rearc rectangle_count",
        "rotate_matrix rotten_oranges rubiks_cube rush_hour self_reference sentence_reordering shortest_path",
        "simple_equations simple_geometry sokoban spell_backward spiral_matrix string_insertion",
        "string_manipulation string_splitting string_synthesis sudoku survo syllogism time_intervals",
        "tower_of_hanoi tsumego word_ladder word_sequence_reversal word_sorting zebra_puzzles",
    )
).split()
"""The tasks that can be chosen (reasoning-gym 0.1.25)."""
LEFT_OUT = dict.fromkeys(
    ("simple_integration", "intermediate_integration", "polynomial_multiplication"),
    "its scorer hands the model's text to sympy's parser, which runs it as code",
) | {"composite": "it is a mixture of other tasks: choose these"}
"""The tasks of the package that cannot, and why."""


@changing(Changes.result)
@dataclass
class ReasoningGymConfig(DatasetConfig):
    """Which task, and how it is asked."""

    source: str = setting("sample", Changes.indirect, timed=True)
    """`sample`: the task makes the questions, which are all there are."""
    task: str = setting("", timed=True)
    """The task, by reasoning-gym's own name (`leg_counting`, `countdown`, `mini_sudoku` …)."""
    options: dict[str, Any] = field(default_factory=dict)
    """Settings of the task, by reasoning-gym's own names: how hard it is (`+dataset.options.min_animals=2`)."""
    sample_size: int = 2000
    """How many questions the task makes for training (an eighth as many for testing)."""
    prompt: str = "{question}\n\nGive your final answer between <answer> and </answer>."
    """What the user says, with `{question}` where the task's question belongs."""


class ReasoningGym(Dataset):
    """Questions of one task of reasoning-gym; `reward=reasoning_gym` scores answers to them."""

    Config = ReasoningGymConfig
    config: ReasoningGymConfig
    form = Prompt
    columns = ("question", "answer", "metadata")
    verifier = "reasoning_gym"
    made = True

    def example(self, row: Row, id: str) -> Prompt:
        """Ask the question."""
        text = self.config.prompt.replace("{question}", row["question"])
        return Prompt(id, [{"role": "user", "content": text}], self.reward_columns(row))

    def reward_columns(self, row: Row) -> dict[str, Any]:
        """Return the whole `entry`, with the task and its settings."""
        entry = {name: row[name] for name in self.columns}
        return {"entry": {"task": self.config.task, "options": dict(self.config.options), **entry}}

    def sample(self, split: str, count: int, seed: int) -> Iterator[Row]:
        """Yield different questions. Raises DataError without the package, for refused settings and too many questions.

        The questions themselves decide which split they are for, so that none is in both.
        """
        numbers = itertools.count()
        randomness = Randomness(seed)  # some tasks take numbers from the process
        with randomness:
            task = self._task(count, SEED * (seed + 1))

        def make(rng: Random) -> tuple[str, Row]:
            try:
                with randomness:
                    entry = task[next(numbers)]
            except IndexError:  # some tasks have only so many
                what = f"the task {self.config.task} has no more than {next(numbers) - 1} questions"
                raise DataError("dataset.sample_size", what, "lower it") from None
            return entry["question"], {name: entry[name] for name in self.columns}

        return draw("reasoning_gym", split, count, seed, make)

    def _task(self, count: int, seed: int) -> Any:
        try:
            import reasoning_gym
        except ImportError as error:
            raise DataError("dataset", "reasoning-gym is not installed", INSTALL) from error
        size = 64 * count + 64  # a split takes one question in eight, and repeated ones are left out
        try:
            return reasoning_gym.create_dataset(self.config.task, seed=seed, size=size, **self.config.options)
        except (TypeError, ValueError, AssertionError) as error:
            what = f"the task {self.config.task} refuses its settings: {error}"
            raise DataError("dataset.options", what, "give what reasoning-gym's config of the task takes") from error

    def problems(self) -> list[Problem]:
        """Say which task there is not, that the package is not installed, and what is wrong with the wording."""
        return list(self._problems())

    def _problems(self) -> Iterator[Problem]:
        task = self.config.task
        if not task:
            yield Problem("dataset.task", "names no task", f"name one of {len(TASKS)}: dataset.task={TASKS[0]} …")
        elif task in LEFT_OUT:
            yield Problem("dataset.task", f"{task} is left out: {LEFT_OUT[task]}", "choose another task")
        elif task not in TASKS:
            yield Problem("dataset.task", f"there is no task '{task}'", guess(task, TASKS))
        if importlib.util.find_spec("reasoning_gym") is None:
            yield Problem("dataset", "reasoning-gym is not installed", INSTALL)
        if "{question}" not in self.config.prompt:
            yield Problem("dataset.prompt", "does not say where the question belongs", "write {question} there")
        if self.config.source != "sample":
            what = "the task makes its questions itself"
            yield Problem("dataset.source", f"{what}, and reads none of {self.config.source}", "drop it")
