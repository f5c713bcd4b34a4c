"""The model card that a trained model's folder carries: what it was made from, how, with which result, and where.

Written twice: beside the weights when they are saved, and with the numbers when the model is exported.
The header is the hub's metadata (https://huggingface.co/docs/hub/model-cards#model-card-metadata).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlpipe.config.overrides import command, without_run_dir
from rlpipe.config.resolved import plugin_class
from rlpipe.core.files import Row
from rlpipe.core.terminal import is_number
from rlpipe.records.changes import before_after_rows, cost

INTENDED = """\
Research on how language models are fine-tuned. The numbers above are all that was measured: nothing was tested for
safety, bias or truthfulness, and the model has no safeguards beyond those of the model that it was made from."""

HOW_INTERVALS = """\
Intervals are 95 % paired intervals of the mean change of the same held-out examples (Student's t with a correction for
skewed scores; one seed: how far other seeds would differ is not in them). "Not separable" means that the interval
holds 0."""


def card(
    manifest: Row,
    result: Row | None = None,
    *,
    license: str | None = None,
    base: str | None = None,
    adapter: bool = False,
) -> str:
    """Return README.md for the model that a run has trained.

    `manifest` and `result` are what the run's files hold (`result` None while it goes on), `license` the hub's id of a
    licence, `base` the hub id of the model that it was made from (None: the config's own, where that is one),
    `adapter` whether the folder holds LoRA weights alone.
    """
    config = manifest["config"]
    base = base or hub_base(config)
    sections = [
        f"# {name(manifest)}\n\n{_opening(manifest, base, adapter)}",
        f"## Results\n\n{_results(manifest, result)}",
        f"## Intended use\n\n{INTENDED}",
        f"## Data\n\n{_data(manifest)}",
        f"## Method\n\n{_method(manifest)}",
        f"## Provenance\n\n{_provenance(manifest, result)}",
    ]
    return f"---\n{_header(manifest, result, license, base, adapter)}\n---\n" + "\n\n".join(sections) + "\n"


def name(manifest: Row) -> str:
    """Return a name for the model: what it was made from (where that has a name), method, dataset, and the run's id."""
    config = manifest["config"]
    parts = [_start(config), config["method"]["name"], config["dataset"]["name"], manifest["id"]]
    return "-".join(part for part in parts if part).lower()


def _start(config: Row) -> str | None:
    """Return what a person calls the model that a run starts from; None for one that another run has made."""
    if config["model"]["stage"]:
        return None
    return Path(config["model"]["source"] or config["model"]["name"]).name


def hub_base(config: Row) -> str | None:
    """Return the hub id of the model that a config starts from, None where it names a folder or no model at all."""
    source = config["model"]["source"]
    is_id = source is not None and source.count("/") == 1 and not source.startswith((".", "/", "~"))
    return source if is_id and not Path(source).is_dir() else None


def _header(manifest: Row, result: Row | None, license: str | None, base: str | None, adapter: bool) -> str:
    from huggingface_hub import ModelCardData

    config = manifest["config"]
    is_reward = plugin_class("method", config["method"]["name"]).head.value == "reward"
    data = ModelCardData(
        base_model=base,
        base_model_relation=("adapter" if adapter else "finetune") if base else None,
        datasets=_hub_datasets(manifest) or None,
        library_name="peft" if adapter else "transformers",
        license=license,
        pipeline_tag="text-classification" if is_reward else "text-generation",
        tags=["rlpipe", config["method"]["name"], *(["lora"] if config["model"]["lora"]["rank"] else [])],
        model_name=name(manifest),
        eval_results=_measured(manifest, (result or {}).get("metrics", {})) or None,
    )
    return str(data.to_yaml())


def _hub_datasets(manifest: Row) -> list[str]:
    """Return the hub ids of the train rows: `hub:<id>@<revision>` is how loading names their source."""
    source = str(manifest.get("data", {}).get("train", {}).get("source", ""))
    return [source.removeprefix("hub:").partition("@")[0]] if source.startswith("hub:") else []


def _measured(manifest: Row, metrics: Mapping[str, Any]) -> list[Any]:
    """Return the numbers after training as the hub's evaluation results, where the rows are a hub dataset's."""
    from huggingface_hub import EvalResult

    datasets = _hub_datasets(manifest)
    found = []
    for key, value in metrics.items():
        when, _, number = key.partition("/")
        if datasets and when == "after" and is_number(value):
            kind = number.rpartition("/")[2]
            found.append(EvalResult("text-generation", datasets[0], datasets[0], kind, value, metric_name=number))
    return found


def _opening(manifest: Row, base: str | None, adapter: bool) -> str:
    config = manifest["config"]
    method = plugin_class("method", config["method"]["name"])
    about = str(method.__doc__ or "").strip().splitlines()[0].rstrip(".")
    start = f"[{base}](https://huggingface.co/{base})" if base else f"`{_start(config)}`"
    made = [f"the run `{parent}`" for parent in manifest["parents"]]
    came = " and ".join(([] if start == "`None`" else [start]) + made)
    what = "LoRA adapter" if adapter else "Model"
    return f"{what} made from {came} by `{config['method']['name']}` ({about}) on `{config['dataset']['name']}`."


def _results(manifest: Row, result: Row | None) -> str:
    if result is None:
        return "Measured after the weights were saved: see `result.json` of the run."
    lines = [] if result["status"] == "ok" else [f"**The run has not ended well ({result['status']}).**\n"]
    rows = list(before_after_rows(result.get("metrics", {})))
    if not rows:
        return "\n".join([*lines, "Nothing was measured."])
    held_out = manifest.get("data", {}).get("test", {})
    lines.append(f"On {held_out.get('kept', '?')} held-out rows of {held_out.get('source', '?')}:\n")
    columns = ("evaluation", "number", "before", "after", "change", "95 % interval of the change")
    return "\n".join([*lines, _table(columns, rows), "", HOW_INTERVALS])


def _data(manifest: Row) -> str:
    lines = []
    for split, report in manifest.get("data", {}).items():
        dropped = sum(report.get("dropped", {}).values())
        rows = f"{report['kept']} rows of `{report['source']}` ({dropped} left out)"
        lines.append(f"- {split}: {rows}, identity `{report['identity']}`")
        if report["source"] == "sample":
            lines[-1] += "; these rows are made up"
    return "\n".join(lines) or "No rows were read."


def _method(manifest: Row) -> str:
    config = manifest["config"]
    rows: list[tuple[str, Any]] = [(key, value) for key, value in config["method"].items() if key != "name"]
    rows += [(f"model.{key}", config["model"][key]) for key in ("precision", "quantize", "lora")]
    rows += [(f"reward.{key}", value) for key, value in config["reward"].items()]
    rows += [(f"tool.{key}", value) for key, value in config["tool"].items()]
    rows.append(("seed", config["seed"]))
    return _table(("setting", "value"), rows)


def _provenance(manifest: Row, result: Row | None) -> str:
    attempt = manifest["attempts"][-1]
    code, machine = attempt["code"], attempt["hardware"]
    commit = f"commit `{code['commit']}`{' with uncommitted changes' if code.get('dirty') else ''}"
    packages = ", ".join(f"{package} {version}" for package, version in attempt["packages"].items())
    computed = ", ".join(machine["gpus"]) or f"{machine['cpu']}, {machine['cores']} cores"
    lines = [
        f"rlpipe {manifest['rlpipe']}, run `{manifest['id']}` of {manifest['created']}",
        f"code: {commit if code['commit'] else code.get('why', 'not in a repository')}",
        f"packages: {packages}, Python {machine['python']}",
        f"hardware: {computed}; processes: {attempt['processes']}",
        *(f"made after: `{parent}`, fingerprint `{print_}`" for parent, print_ in manifest["parents"].items()),
        *(f"note: {note}" for note in manifest["notes"]),
    ]
    if result is not None:
        lines.append(f"cost: {cost(result.get('cost', {}), result.get('attempts', 1))}")
    again = command(*without_run_dir(manifest["overrides"]))
    return "\n".join(f"- {line}" for line in lines) + f"\n\n```sh\n{again}\n```"


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.replace("|", "\\|").replace("\n", "<br>")
