"""Writes the pages of docs/ that the code knows best: one for each config group, and the fields of every run.

    python docs/generate.py          # writes them all; commit what changes

A field's text is the string under it in its dataclass, an option's the first comment of its YAML file.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rlpipe.config.fields import Field, declarations, fields, values
from rlpipe.config.launchers import AshaConfig, GridConfig, LauncherConfig, SweeperConfig, TpeConfig
from rlpipe.config.options import Option, options
from rlpipe.config.plugins import BUILT_IN, SEVERAL
from rlpipe.config.schema import RunConfig
from rlpipe.core.paths import conf_dir
from rlpipe.datasets.forms import form_name
from rlpipe.datasets.shapes import SHAPES
from rlpipe.run.check.fitting import serving

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/generate.py: change the docstrings or conf/, then run it. -->"

INTRODUCTIONS = {
    "model": "Whose weights: `model=tiny` needs no download, the others come from the hub or from a folder "
    "(`model=hf model.source=FOLDER`). A model may also be named by the run that makes it: see [after](after.md).",
    "dataset": "Which examples. A dataset reads the hub, a local folder or file in the hub's columns "
    "(`dataset.source=PATH`), or makes sample rows (`dataset.source=sample`), which is what toy models do by default.",
    "method": "How the model is trained. Methods on fixed data use TRL's trainers: what rlpipe sets itself cannot be "
    "set twice, and every other argument of TRL's config class goes through `+method.extra.NAME=VALUE`. The learning "
    "rates below are for all weights of a model of a billion: a default one is multiplied by "
    "`model.learning_rate_scale`, and by `model.lora.learning_rate_scale` where adapters train; the "
    "default `max_length` is cut to what the model takes. [Which dataset serves which method](dataset.md).",
    "reward": "What completions earn, for methods that sample. Methods on fixed data learn from the dataset alone and "
    "refuse a reward.",
    "tool": "What completions may call, for methods that sample.",
    "environment": "What answers completions, turn by turn: null by default, so that a completion is one turn. How "
    "episodes are played, trained on and measured: [environments](environments.md).",
    "engine": "What draws completions, for training, evaluations, AI feedback and `rlpipe chat --engine`. How they are "
    "kept up to date, checked and corrected: [engines](engines.md).",
    "after": "The run whose model this run starts from. It is built once, kept in the store by its fingerprint, and "
    "reused by every run that needs the same weights. An option is short for a list: "
    "`'after=[method=sft,dataset=smoltalk]'` says the same as `after=sft_smoltalk`. Model, dataset and seed are "
    "inherited unless the list names them.",
    "evaluation": "What is measured before and after training (or alone, with `method=none`), one row per example in "
    "`evaluations/`; beside the rows, `<name>.protocol.json` says what they depend on apart from the weights. Several "
    "at once: `evaluation=[preference,perplexity]`.",
    "tracker": "Where else the numbers are shown. The run's own folder is complete without any.",
    "experiment": "Whole recipes: `experiment=chat_dpo` runs at toy scale, `experiment=chat_dpo model=qwen2.5-0.5b` at "
    "full scale. Everything can still be overridden. The comments in `conf/experiment/` name the sources.",
}


def main() -> None:
    """Write every generated page."""
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
        print(DOCS / name)


def pages() -> dict[str, str]:
    """Return the generated pages by file name."""
    ours = {group: known for group, known in _built_in_options().items() if group in INTRODUCTIONS}
    groups = {f"{group}.md": "\n".join(_group(group, known)) + "\n" for group, known in ours.items()}
    others = {"run.md": _run(), "launcher.md": _launcher()}
    return groups | {name: "\n".join(lines) + "\n" for name, lines in others.items()}


def _built_in_options() -> dict[str, dict[str, Option]]:
    """Return rlpipe's own options: what installed packages add does not belong on these pages."""
    ours = (str(conf_dir()), "plugin of rlpipe")
    return {
        group: {name: option for name, option in known.items() if option.origin.startswith(ours)}
        for group, known in options().items()
    }


def _shown(field: Field) -> str:
    """Return a default on one line."""
    return field.shown.replace("\n", "\\n") or "''"


def _group(group: str, known: dict[str, Option]) -> Iterator[str]:
    yield from (f"# {group}", "", NOTE, "", INTRODUCTIONS[group], "", f"## Options of `{group}=`", "")
    yield from _table(("option", "what it is"), [(f"`{option.name}`", option.description) for option in known.values()])
    if group == "dataset":
        yield from _serving()
    if group in BUILT_IN:
        yield from _fields_of(group)


def _fields_of(kind: str) -> Iterator[str]:
    base = getattr(importlib.import_module(f"rlpipe.{kind}s.base"), f"{kind.capitalize()}Config")
    prefix = f"{kind}.<name>." if kind in SEVERAL else f"{kind}."
    yield from ("", f"## Fields that every {kind} has", "")
    for field in _leaves(base, prefix):
        yield from _field(field)
    for family, names in _families(kind, base).items():
        yield from ("", f"## Further fields of {_names(names)}", "")
        yield from _own_fields(family, base, prefix)
    for name, cls in _classes(kind).items():
        yield from ("", f"## {name}", "", (cls.__doc__ or "").split("\n\n")[0].replace("\n    ", " "))
        if kind in ("method", "evaluation"):
            none = "nothing: it does not train" if kind == "method" else "no held-out rows: it brings its own examples"
            yield from ("", f"Takes {', '.join(map(form_name, cls.takes)) or none}.")
        if cls.Config is not base:
            parent = next(config for config in cls.Config.__mro__[1:] if issubclass(config, base))
            own = list(_own_fields(cls.Config, parent, prefix.replace("<name>", name)))
            yield from ("", *own) if own else ()
        if (kind, name) == ("dataset", "files"):
            yield from _shapes()


def _families(kind: str, base: type) -> dict[type, list[str]]:
    """Return the configs between the base and those of several plugins, with the plugins' names."""
    found: dict[type, list[str]] = {}
    for name, cls in _classes(kind).items():
        for config in cls.Config.__mro__[1:]:
            if issubclass(config, base) and config is not base:
                found.setdefault(config, []).append(name)
    own = {cls.Config for cls in _classes(kind).values()}
    return {config: names for config, names in found.items() if config not in own}


def _own_fields(config: type, parent: type, prefix: str) -> Iterator[str]:
    """Describe the fields that a config adds to its parent's, and the inherited ones with another default."""
    inherited = {field.path: field.value for field in _leaves(parent, prefix)} if parent is not object else {}
    for field in _leaves(config, prefix):
        new = field.path not in inherited or inherited[field.path] != field.value
        if new and not field.path.endswith(".name"):
            yield from _field(field)


def _names(names: list[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]


def _leaves(config: type, prefix: str) -> Iterator[Field]:
    node = OmegaConf.structured(config)
    assert isinstance(node, DictConfig)
    return fields(node, prefix)


def _field(field: Field) -> Iterator[str]:
    default = "must be given" if field.shown == "???" else f"`{_shown(field)}`"
    yield f"- **`{field.path}`** (`{field.type}`, {default}): {_line(field.doc)}"
    if isinstance(field.value, Enum):
        for name, doc in values(type(field.value)).items():
            yield f"    - `{name}`" + (f": {_line(doc)}" if doc else "")


def _serving() -> Iterator[str]:
    """The table of which dataset serves which method or evaluation, and in which form."""
    datasets, methods, evaluations = (_classes(kind) for kind in ("dataset", "method", "evaluation"))
    trained, looking = ({name: cls for name, cls in kind.items() if cls.takes} for kind in (methods, evaluations))
    ways = serving(datasets, {**trained, **looking})
    yield from ("", "## Which dataset serves which method, and in which form", "")
    yield "`choice → preference` reads: the rows are multiple-choice questions, and each becomes a pair. An empty cell"
    yield "is refused by the checks. `files` has the form that `dataset.form` names; `method=none` runs with all."
    for title, columns in (("methods", trained), ("evaluations", looking)):
        alike: dict[tuple[str, ...], list[str]] = {}
        for column in columns:
            alike.setdefault(tuple(ways[name].get(column, "") for name in datasets), []).append(f"`{column}`")
        yield from ("", f"For {title}:", "")
        rows = list(zip((f"`{name}`" for name in datasets), *alike, strict=True))
        yield from _table(("dataset", *(", ".join(names) for names in alike.values())), rows)


def _shapes() -> Iterator[str]:
    """The table of the shapes that rows of `dataset=files` may have."""
    yield from ("", "### Shapes of rows", "")
    yield "With `dataset.form=auto` a local file's shape is the first of these whose columns it all has; the check says"
    yield "which it took. Columns that are called otherwise are named by `dataset.columns`."
    yield ""
    rows = [
        (shape.title, f"`{shape.form.value}`", ", ".join(f"`{name}`" for name in shape.columns)) for shape in SHAPES
    ]
    yield from _table(("shape", "form", "columns"), rows)


def _classes(kind: str) -> dict[str, Any]:
    targets = {name: target.partition(":") for name, target in BUILT_IN[kind].items()}
    return {name: getattr(importlib.import_module(module), cls) for name, (module, _, cls) in targets.items()}


def _launcher() -> Iterator[str]:
    """The launchers and the sweeper: groups of Hydra's, whose schemas are dataclasses too."""
    base, prefix = LauncherConfig, "hydra.launcher."
    yield from ("# launcher", "", NOTE, "")
    names = " or ".join(f"`hydra/launcher={name}`" for name in BUILT_IN["launcher"])
    yield f"Where the arms of a sweep (`-m`) run: {names}; the first is the default."
    yield "`rlpipe sweep FOLDER` shows, watches, resumes, extends and ends a sweep of any launcher. A package adds one"
    yield "through the entry-point group `rlpipe.launcher`, with a subclass of `rlpipe.launchers.base.Launcher`;"
    yield "`rlpipe.testing.check_launcher` checks it."
    yield from ("", "## Fields of every launcher", "", *_own_fields(base, object, prefix))
    for name, cls in _classes("launcher").items():
        yield from ("", f"## hydra/launcher={name}", "", _line(cls.Config.__doc__ or ""), "")
        yield from _own_fields(cls.Config, base, prefix)
    prefix = "hydra.sweeper."
    yield from ("", "## Fields of every sweeper", "", *_own_fields(SweeperConfig, object, prefix))
    for name, config, parent in (
        ("grid", GridConfig, SweeperConfig),
        ("asha", AshaConfig, GridConfig),
        ("tpe", TpeConfig, SweeperConfig),
    ):
        yield from ("", f"## hydra/sweeper={name}", "", _line(config.__doc__ or ""), "")
        yield from _own_fields(config, parent, prefix)


def _run() -> Iterator[str]:
    yield from ("# Fields of every run", "", NOTE, "")
    yield "What a run has beside its groups, whose fields stand on their own pages:"
    yield from (", ".join(f"[{group}]({group}.md)" for group in INTRODUCTIONS) + ".", "")
    groups = options()
    for name, declared in declarations(RunConfig).items():
        if name in groups and name != "after":
            continue
        default = next(field for field in dataclasses.fields(RunConfig) if field.name == name)
        if dataclasses.is_dataclass(default.default_factory):
            yield from ("", f"## {name}", "", declared.doc, "")
            for field in _leaves(default.default_factory, f"{name}."):
                yield from _field(field)
        else:
            value = [] if default.default is dataclasses.MISSING else default.default
            yield from _field(Field(name, declared.type, value, declared.doc))


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    main()
