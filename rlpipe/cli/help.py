"""The text of `--help`: what can be chosen, what can be set, and examples to start from."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from enum import Enum
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from rlpipe.cli.commands import COMMANDS, WIDTH
from rlpipe.config.fields import Field, declarations, fields, values
from rlpipe.config.hydra import compose_raw
from rlpipe.config.options import options
from rlpipe.config.overrides import key_of
from rlpipe.config.plugins import SEVERAL
from rlpipe.config.schema import CheckpointConfig, HardwareConfig, LogConfig, RunConfig
from rlpipe.core.paths import conf_dir

HEAD = """\
rlpipe: a laboratory bench for fine-tuning language models with preference optimisation and reinforcement learning.

usage:  rlpipe COMMAND …                              do something with what there is
        rlpipe [flags] group=option … field=value …   run an experiment, composed from the groups below
        (python -m rlpipe … is the same)
"""

EXAMPLES = """\
examples
  rlpipe                                                        a toy learns puzzles by SFT, then RLOO, on a CPU
  rlpipe method=dpo dataset=ultrafeedback until=check           say what is wrong, start nothing
  rlpipe model=qwen2.5-0.5b method=dpo dataset=ultrafeedback    real weights, real rows
  rlpipe model=qwen2.5-0.5b model.lora.rank=16 after=sft        adapters, from a model that SFT makes first
  rlpipe 'after=[method=sft,dataset=smoltalk]'                  … or from a run that you write out
  rlpipe method=sft dataset=files dataset.source=my.jsonl       your own rows
  rlpipe method=kto method.learning_rate=5e-6 seed=1            any field, by its dotted path
  rlpipe run_dir=runs/RUN …                                     go on with an unfinished run (same command)
  rlpipe -m method=dpo,kto,orpo seed=0,1,2                      a sweep: nine arms
  rlpipe sweep multirun/DATE/TIME resume                        … what of it is missing or failed
  rlpipe report multirun/DATE/TIME                              … compared
"""

FLAGS = """\
flags
  --help, -h            this text; with choices (rlpipe method=dpo --help) the fields that they have
  --multirun, -m        a sweep: every combination of the comma-separated values
  --cfg job [--resolve] [-p PART]   print the composed config (or a part of it) instead of running
  --config-dir DIR      add your own options (DIR/method/mine.yaml becomes method=mine)
  --config-path DIR     the same, but your files win over built-in ones of the same name
  --info, --hydra-help  how the config was put together; Hydra's own flags
  --version             the version

tab completion (commands, groups, options and field names)
  eval "$(rlpipe -sc install=bash)"        put it into ~/.bashrc
  rlpipe -sc install=fish | source         put it into ~/.config/fish/config.fish

HYDRA_FULL_ERROR=1 shows the traceback of every error. Exit codes: 0 done, 1 a bug, 2 something to fix,
75 stopped on request with everything saved: the same command goes on. Commands say theirs with --help.
"""


def overview(folders: Sequence[Path] = ()) -> str:
    """Return the help without choices: groups and their options, top-level fields, examples, flags."""
    blocks = [HEAD, "commands (rlpipe COMMAND --help says more)"]
    blocks += _columns((f"  {name} {one.arguments}", one.line) for name, one in COMMANDS.items())
    blocks += ["", "groups (group=option)"]
    lines = _contents()
    for group, known in options(folders).items():
        meaning, default = lines.get(group, ("", ""))
        several = "; several at once: [a,b]" if group in SEVERAL else ""
        blocks.append(f"  {group}: {meaning or 'your own'} (default: {default or 'none'}{several})")
        blocks += _columns((f"    {option.name}", option.description) for option in known.values())
        if not known:
            blocks.append("    none yet")
    blocks += ["", "fields of every run (those of the chosen options: rlpipe method=dpo --help)"]
    blocks += _columns(_top_level())
    return "\n".join([*blocks, "", EXAMPLES, FLAGS.rstrip()])


def run_help(overrides: Sequence[str], folders: Sequence[Path] = ()) -> str:
    """Return the fields that the given choices have: type, value as composed, documentation."""
    config = compose_raw(overrides, folders, with_hydra=True)
    chosen = {key_of(override).split(".")[0]: override for override in overrides}
    nodes = {group: OmegaConf.select(config, group.replace("/", ".")) for group in options(folders) if group in chosen}
    nodes = {group: node for group, node in nodes.items() if node is not None} or {"method": config.method}
    blocks = [f"rlpipe {' '.join(overrides)}"]
    for group, node in nodes.items():
        if not isinstance(node, DictConfig):
            blocks.append(f"\n{group}: {node}")
            continue
        title = chosen.get(group, f"{group}={node.get('name', '…')}")
        blocks.append(f"\nfields of {title}  (name: type = value)")
        for field in fields(node, f"{group.replace('/', '.')}."):
            blocks += _described(field)
    return "\n".join([*blocks, "", "The other groups: rlpipe --help. Everything as composed: rlpipe … --cfg job"])


def _described(field: Field) -> list[str]:
    head = f"  {field.path}: {field.type} = {field.shown}"
    texts = [field.doc]
    if isinstance(field.value, Enum):
        texts += [f"{name}: {doc}" if doc else name for name, doc in values(type(field.value)).items()]
    indent = " " * 6
    return [
        head,
        *(
            line
            for text in texts
            for line in textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
        ),
    ]


def _top_level() -> Iterable[tuple[str, str]]:
    groups = options()
    for name, declared in declarations(RunConfig).items():
        if name not in groups and declared.doc:
            yield f"  {name}", declared.doc
    for section, cls in (("hardware", HardwareConfig), ("checkpoint", CheckpointConfig), ("log", LogConfig)):
        for name, declared in declarations(cls).items():
            yield f"  {section}.{name}", declared.doc


def _contents() -> dict[str, tuple[str, str]]:
    """Return what config.yaml, the table of contents, says of each group: its meaning and its default."""
    text = (conf_dir() / "config.yaml").read_text(encoding="utf-8")
    entries = re.findall(r"^  - (?:override )?([\w/]+): (\S+) +# (.+)$", text, flags=re.MULTILINE)
    return {group: (meaning.split(";")[0], default.replace("null", "none")) for group, default, meaning in entries}


def _columns(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Lay out names and texts in two columns; long texts go on under their column."""
    rows = list(rows)
    left = max((len(name) for name, _ in rows), default=0) + 2
    lines = []
    for name, text in rows:
        first, *more = textwrap.wrap(" ".join(text.split()), max(WIDTH - left, 40)) or [""]
        lines += [f"{name:<{left}}{first}".rstrip(), *(" " * left + line for line in more)]
    return lines
