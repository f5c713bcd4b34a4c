"""Any task of lm-evaluation-harness, measured by the harness itself on the model in memory.

https://github.com/EleutherAI/lm-evaluation-harness: PIQA, HellaSwag, MMLU, GSM8K and thousands more. The numbers are
those of its own command line with the same settings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlpipe.config.kinds import EvaluationConfig
from rlpipe.config.settings import Changes, changing, setting
from rlpipe.core.errors import Problem, guess
from rlpipe.datasets.forms import Example
from rlpipe.evaluations.base import Evaluation, EvaluationContext, Row
from rlpipe.evaluations.task_names import OWN_TASKS, harness_folder, unknown
from rlpipe.models.base import Loaded

if TYPE_CHECKING:
    from rlpipe.evaluations.harness import Tasks


@changing(Changes.rows)
@dataclass
class LmEvalConfig(EvaluationConfig):
    """Which tasks, and how the harness presents them."""

    limit: int | None = None
    """Measure this many documents of each task, the first ones; null: all."""
    tasks: list[str] = field(default_factory=list)
    """Tasks, groups and tags of the harness by name (`lm-eval ls tasks`), or YAML files of tasks; `piqa_samples` is its
    `piqa` on made-up rows, for toys and without network."""
    include_path: str | None = setting(None, Changes.nothing)
    """A folder with YAML files of further tasks."""
    num_fewshot: int | None = setting(None, at_least=0, at_most=1000, usual=(None, 64))
    """Worked examples shown before each question; null: as each task says."""
    batch_size: int = setting(16, Changes.nothing, at_least=1, at_most=10**5, usual=(None, 4096))
    """Rows per forward pass."""
    apply_chat_template: bool = False
    """Lay prompts out by the model's chat template; the harness's own default is plain text."""


class LmEval(Evaluation):
    """Tasks of lm-evaluation-harness on the model in memory, by the harness's own code, one row a document."""

    Config = LmEvalConfig
    config: LmEvalConfig
    takes = ()
    whole = True  # few-shot examples are drawn in the order of the documents
    tasks: Tasks

    def problems(self) -> list[Problem]:
        """Say what is missing, and which names the harness does not know."""
        config, found = self.config, []
        folder = harness_folder()
        if folder is None:
            fix = "pip install 'rlpipe[eval]'"
            found.append(Problem("name", "lm-evaluation-harness is not installed", fix))
        if not config.tasks:
            found.append(Problem("tasks", "names no task", "give some, for example tasks=[piqa,hellaswag]"))
        if config.include_path is not None and not Path(config.include_path).expanduser().is_dir():
            found.append(Problem("include_path", f"there is no folder {config.include_path}", "correct the path"))
            return found
        if folder is not None:
            found += self._unknown(folder)
        return found

    def _unknown(self, folder: Path) -> list[Problem]:
        config = self.config
        folders = [*self._folders(), folder]
        names = [name for name in config.tasks if not Path(name).expanduser().is_file()]
        missing, known = unknown(names, folders)
        fix = "`lm-eval ls tasks` lists them; for a folder of your own tasks give include_path"
        return [
            Problem("tasks", f"the harness has no task '{name}'", guess(name, known).partition("known: ")[0] + fix)
            for name in missing
        ]

    def _folders(self) -> list[Path]:
        """Return the folders of tasks that are not the harness's: the user's, and rlpipe's own."""
        folder = self.config.include_path
        return [OWN_TASKS] if folder is None else [Path(folder).expanduser(), OWN_TASKS]

    def start(self, context: EvaluationContext) -> None:
        """Load the tasks with their data. Raises DataError where that cannot be had."""
        from rlpipe.evaluations.harness import Tasks

        self.tasks = Tasks(self.config.tasks, self._folders())

    def make_examples(self) -> Sequence[Example]:
        """Return the tasks' documents by name: `<task>/<number>`."""
        sizes = self.tasks.documents(self.config.limit)
        return [Example(f"{task}/{number}") for task, size in sizes.items() for number in range(size)]

    def protocol(self, loaded: Loaded) -> dict[str, Any]:
        """Add the versions of harness and tasks."""
        return {**super().protocol(loaded), "versions": self.tasks.versions()}

    def rows(self, loaded: Loaded, examples: Sequence[Example]) -> list[Row]:
        """One row a document.

        `score` is the value of the task's first metric (null where that is no number), `parts` all that are numbers,
        by `metric,filter`, and `values` those that are not. `completion` is the likeliest choice or the answer.
        """
        from rlpipe.evaluations.harness import measure

        config = self.config
        samples = measure(
            loaded, self.tasks, config.limit, config.num_fewshot, config.batch_size, config.apply_chat_template
        )
        found: dict[str, Row] = {}
        for task, logged in samples.items():
            for sample in logged:
                _add(found.setdefault(f"{task}/{sample['doc_id']}", {}), sample)
        return [{"id": example.id, **found[example.id]} for example in examples]

    def summary(self, rows: Sequence[Row], start: Sequence[Row] | None) -> dict[str, float]:
        """Return `<task>/<metric>` and its standard error, as the harness sums documents up; groups too."""
        values: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            for key, value in {**row["parts"], **row["values"]}.items():
                values[row["id"].rpartition("/")[0]][key].append(value)
        summed = self.tasks.summed(values)
        return {f"{task}/{key}": value for task, metrics in summed.items() for key, value in metrics.items()}


def _add(row: Row, sample: dict[str, Any]) -> None:
    """Add to a document's row what the harness has logged under one of its filters."""
    if not row:
        arguments = sample["arguments"]
        row |= {"prompt": str(arguments[0][0]), "completion": "", "reference": _text(sample["target"]), "score": None}
        row |= {"parts": {}, "values": {}}
        answers = sample["filtered_resps"]
        if len(arguments) > 1 and all(isinstance(one, tuple | list) for one in answers):
            best = max(range(len(answers)), key=lambda number: answers[number][0])
            row["completion"] = str(arguments[best][1]).strip()
        else:
            row["completion"] = _text(sample["resps"][0][0])
    for metric in sample["metrics"]:
        value = sample[metric]
        value = value.item() if hasattr(value, "item") else value
        kind = "parts" if isinstance(value, int | float) else "values"
        row[kind][f"{metric},{sample['filter']}"] = value
        if row["score"] is None and kind == "parts":
            row["score"] = float(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)
