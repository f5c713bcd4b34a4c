"""Are the models that a run names what it needs? Found from configs, headers and names alone, without torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlpipe.config.kinds import Head
from rlpipe.core.errors import ModelError, Problem, guess
from rlpipe.hub import inspection
from rlpipe.hub.facts import weights_folder
from rlpipe.hub.files import cannot_be_had
from rlpipe.hub.inspection import Wanted
from rlpipe.models.chat_template import BUILT_IN, CHATML, template_error
from rlpipe.run.check import capacity
from rlpipe.run.check.subject import Subject
from rlpipe.stages.lineage import FROZEN

ATTENTION = {
    "sdpa": (),
    "eager": (),
    "flex_attention": (),
    "flash_attention_2": ("flash_attn", "kernels"),
    "flash_attention_3": ("flash_attn_3", "flash_attn_interface", "kernels"),
    "flash_attention_4": ("flash_attn", "kernels"),
}
"""transformers' attention implementations (a test compares them), and the packages of which one must be there."""


def settings(subject: Subject) -> Iterator[Problem]:
    """What the model's plugin says about its settings."""
    if subject.model is not None:
        for problem in subject.model.problems():
            yield problem.below("model")


def policy(subject: Subject) -> Iterator[Problem]:
    """The model has a source, and a local one is whole and of the right kind."""
    model = subject.config.model
    if model.stage or model.name != "pretrained" or subject.config.after:
        return
    if model.source is None:
        yield Problem("model.source", "is not given", "give a hub id or a folder: model.source=organisation/name")
        return
    wanted = Wanted(grows=subject.method is not None and subject.method.head is Head.reward)
    yield from _examined(subject, model.source, model.revision, wanted, "model.source")


def frozen(subject: Subject) -> Iterator[Problem]:
    """The models of rewards, evaluations, reference and teacher are there, whole, and of the right kind."""
    for path, (node, head) in _named_models(subject).items():
        model = getattr(node, "model", None) if hasattr(node, "stage") else None
        if isinstance(model, str):
            revision, wanted = getattr(node, "revision", None), Wanted(scores=head is Head.reward)
            yield from _examined(subject, model, revision, wanted, f"{path}.model")


def reference(subject: Subject) -> Iterator[Problem]:
    """A reference and a teacher have the policy's own vocabulary, where both are folders."""
    policy = subject.config.model.source
    if policy is None or subject.config.after or subject.config.model.stage:
        return
    for role in FROZEN:
        model = getattr(getattr(subject.config.method, role, None), "model", None)
        words = [_words(source) for source in (model, policy)] if model is not None else [None]
        if None not in words and words[0] != words[1]:
            differing = len(dict(words[0] or {}).items() ^ dict(words[1] or {}).items())
            what = f"{model} has another vocabulary than the policy ({differing} entries differ)"
            yield Problem(f"method.{role}.model", what, f"name a {role} with the policy's own tokenizer")


def template(subject: Subject) -> Iterator[Problem]:
    """A chat template is there, and can write a user's and an assistant's turn."""
    name, model = subject.config.model.chat_template, subject.config.model
    folder = _folder(model.source) if not (model.stage or subject.config.after) else None
    try:
        special = inspection.tokenizer_config(folder) if folder is not None else {}
        if name is None:
            text, where = inspection.chat_template(folder) if folder is not None else None, "model.source"
        elif name in BUILT_IN:
            return
        else:
            text, where = Path(name).expanduser().read_text(encoding="utf-8"), "model.chat_template"
    except ModelError as error:
        yield error.at("model.source")
        return
    except UnicodeDecodeError as error:
        yield Problem("model.chat_template", f"{name} is no text in UTF-8 ({error})", "give a Jinja file in UTF-8")
        return
    except OSError:
        yield Problem(
            "model.chat_template", f"there is no file {name}", "give a Jinja file, `chatml`, `plain`, or null"
        )
        return
    what = template_error(text, special) if text is not None else None
    if what is not None:
        yield Problem(where, what, f"fix it, or use rlpipe's own: model.chat_template={CHATML}")


def attention(subject: Subject) -> Iterator[Problem]:
    """The attention implementation is one of transformers', and has its package and its GPU."""
    name = subject.config.model.attention
    if name not in ATTENTION:
        if name.count("/") != 1:  # a kernel of the hub's
            yield Problem("model.attention", f"there is no attention implementation '{name}'", guess(name, ATTENTION))
        return
    packages = ATTENTION[name]
    if packages and all(importlib.util.find_spec(package) is None for package in packages):
        fix = f"pip install {packages[-1]}, or model.attention=sdpa"
        yield Problem("model.attention", f"{name} wants one of the packages {', '.join(packages)}", fix, subject.here)
    if packages and not capacity.on_gpu(subject):
        yield Problem("model.attention", f"{name} needs a GPU, and this run has none", "model.attention=sdpa")


def looks_like_a_path(source: str) -> bool:
    """Whether a name means a local folder rather than a hub id (`name` or `organisation/name`)."""
    first, *rest = source.split("/")
    return (
        source.startswith((".", "/", "~")) or len(rest) > 1 or "\\" in source or (bool(rest) and Path(first).is_dir())
    )


def _examined(subject: Subject, source: str, revision: str | None, wanted: Wanted, where: str) -> Iterator[Problem]:
    if Path(source).expanduser().is_dir():
        yield from inspection.problems(source, wanted, where)
    elif looks_like_a_path(source):
        yield Problem(where, f"there is no folder {source}", "give a folder that is there, or a hub id")
    elif subject.here and (reason := cannot_be_had(source, revision)) is not None:
        fix = "connect to the network, or give a folder; model=tiny needs no download"
        yield Problem(where, f"{reason}, and the local cache has no copy of {source}", fix)


def _named_models(subject: Subject) -> dict[str, tuple[Any, Head | None]]:
    """Return the nodes that may name a model beside the policy, by their paths, with what each model must end in."""
    config = subject.config
    nodes: dict[str, tuple[Any, Head | None]] = {
        f"reward.{name}": (one.config, one.model_head) for name, one in subject.rewards.items()
    }
    nodes |= {
        f"evaluation.{name}": (one.config, getattr(one, "model_head", None))
        for name, one in subject.evaluations.items()
    }
    return nodes | {f"method.{role}": (getattr(config.method, role, None), Head.causal_lm) for role in FROZEN}


def _folder(source: str | None) -> Path | None:
    folder = Path(source).expanduser() if source is not None else None
    if folder is None or not folder.is_dir():
        return None
    try:
        return weights_folder(folder)
    except ModelError:
        return None  # `policy` says why


def _words(source: str) -> Any:
    folder = _folder(source)
    try:
        return inspection.vocabulary(folder) if folder is not None else None
    except ModelError:
        return None  # said where the model itself is examined
