"""How messages become tokens: the chat template, and what must be true of model and tokenizer for it to train well."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rlpipe.config.kinds import ModelConfig
from rlpipe.core.errors import ModelError
from rlpipe.models import special_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CHATML, PLAIN = "chatml", "plain"
BUILT_IN = (CHATML, PLAIN)
"""The templates that rlpipe brings, by what `model.chat_template` calls them."""
START, END = "<|im_start|>", "<|im_end|>"
NO_TEMPLATE = "the tokenizer has none"
"""What the notes say where a model came without a template."""
PROBE = "Zq7"
"""An assistant's reply that no template contains."""


def built_in(name: str = CHATML) -> str:
    """Return a template of rlpipe's own; what the model writes stands between generation markers in it.

    `chatml` is ChatML with tool calls, `plain` has no roles and no tools.
    """
    return (Path(__file__).parent / f"{name}.jinja").read_text(encoding="utf-8")


def prepare(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, config: ModelConfig
) -> tuple[list[int], list[str]]:
    """Make tokenizer and model ready for chat training, in place.

    Sets the template (`config.chat_template`; ChatML where the model has none), the end-of-turn token
    in tokenizer, model and generation config, a pad token that is not the end-of-turn token, and
    embeddings for tokens that had to be added. Returns the ids that were added, and notes on what was
    decided. Raises ModelError for a template that is missing or cannot be rendered.
    """
    added, notes = _set_template(tokenizer, config)
    end = end_of_turn(tokenizer, config.chat_template or str(tokenizer.name_or_path))
    if end is None:
        notes.append("the chat template ends a turn with no special token: the model cannot learn where to stop")
    else:
        notes += special_tokens.set_end_of_turn(tokenizer, model, end)
    pad_added, pad_notes = special_tokens.set_pad(tokenizer, model)
    added += pad_added
    notes += pad_notes
    notes += special_tokens.fit_embeddings(model, tokenizer, added)
    if config.lora.rank > 0 and end is not None:
        alike = special_tokens.twins(model, tokenizer.eos_token_id)
        if alike:
            notes.append(
                f"{end} was never trained: {alike} other tokens have the same output row, and LoRA leaves it as it is; "
                "the model can hardly learn to stop (train all weights, or start from a model that was)"
            )
    return added, notes


def _set_template(tokenizer: PreTrainedTokenizerBase, config: ModelConfig) -> tuple[list[int], list[str]]:
    """Set the template that the config asks for; return added token ids and notes."""
    requested = config.chat_template
    if requested is None and tokenizer.chat_template is not None:
        return [], []
    if requested not in (None, *BUILT_IN):
        tokenizer.chat_template = _read(requested)
        return [], [f"chat template: {requested}"]
    text, tokens = built_in(requested or CHATML), list[str]()
    notes = [f"chat template: {requested or CHATML}" + (f" ({NO_TEMPLATE})" if requested is None else "")]
    if requested != PLAIN:
        end = _chatml_end(tokenizer, config.lora.rank > 0)
        text, tokens = text.replace(END, end), [START, end]
        if end != END:
            notes[0] += f", with {end} as end of turn because LoRA trains no new embeddings"
    if special_tokens.adds_bos(tokenizer):
        text = "{{- bos_token -}}" + text
        notes[0] += f", starting with {tokenizer.bos_token} as the tokenizer does"
    if tokenizer.chat_template == text:
        return [], []
    tokenizer.chat_template = text
    added = special_tokens.add_tokens(tokenizer, tokens)
    if added:
        names = ", ".join(str(tokenizer.convert_ids_to_tokens(id)) for id in added)
        notes.append(f"tokens added: {names}")
    return added, notes


def _chatml_end(tokenizer: PreTrainedTokenizerBase, frozen: bool) -> str:
    """Return the token that ends a turn of ChatML.

    Where the vocabulary lacks it and embeddings are `frozen`, the tokenizer's own end token serves: the
    logit of a row that stays the mean of the others is the mean of their logits, so it never wins.
    """
    if not frozen or END in tokenizer.get_vocab():
        return END
    if tokenizer.eos_token is None:
        raise ModelError(
            "model.lora.rank",
            f"the vocabulary has neither {END} nor another end token, and LoRA trains no new embeddings",
            "train all weights (model.lora.rank=0), or start from a model that had this: after=sft",
        )
    return str(tokenizer.eos_token)


def template_error(template: str, special_tokens: Mapping[str, Any]) -> str | None:
    """Return why a template cannot write a user's and an assistant's turn, None where it can; without transformers.

    `special_tokens` are those of tokenizer_config.json, which templates read as variables.
    """
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_generation_tag(), "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **given: json.dumps(value, ensure_ascii=False)
    environment.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
    names = {name: _token(value) for name, value in special_tokens.items() if name.endswith("_token")}
    messages = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": PROBE}]
    try:
        text = environment.from_string(template).render(messages=messages, add_generation_prompt=False, **names)
    except (TemplateError, SecurityError, TypeError, KeyError, ValueError, AttributeError) as error:
        line = getattr(error, "lineno", None)
        at = f" (line {line})" if line else ""
        return f"its chat template cannot write a user and an assistant turn: {error or type(error).__name__}{at}"
    return None if PROBE in text else "its chat template leaves out what the assistant says"


def _refuse(message: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _token(value: Any) -> Any:
    """Return a special token as text, which a tokenizer's config may hold as an object."""
    return value.get("content") if isinstance(value, dict) else value


def _generation_tag() -> type:
    """Return a Jinja extension for `{% generation %}`, which marks what an assistant writes, and changes nothing."""
    from jinja2.ext import Extension

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return Generation


def _read(path: str) -> str:
    """Read a template file."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise ModelError(
            f"model.chat_template={path}", "there is no such file", f"give '{CHATML}', '{PLAIN}' or a Jinja file"
        )
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"model.chat_template={path}", f"is not UTF-8 ({error})", "save it as UTF-8") from error


def end_of_turn(tokenizer: PreTrainedTokenizerBase, where: str) -> str | None:
    """Return the special token that the template writes after an assistant's words, None when it writes none.

    Raises ModelError, naming `where` the template comes from, when it cannot be rendered or leaves the words out.
    """
    from jinja2 import TemplateError

    messages = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": PROBE}]
    try:
        text: Any = tokenizer.apply_chat_template(messages, tokenize=False)
    except (TemplateError, TypeError, KeyError, ValueError) as error:
        raise ModelError(
            where,
            f"its chat template cannot write a user and an assistant turn: {error}",
            f"fix it, or use rlpipe's own: model.chat_template={CHATML}",
        ) from error
    if PROBE not in text:
        raise ModelError(
            where,
            "its chat template leaves out what the assistant says",
            f"fix it, or use rlpipe's own: model.chat_template={CHATML}",
        )
    after = text.rsplit(PROBE, 1)[1].lstrip()
    special = sorted({*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}, key=len, reverse=True)
    return next((token for token in special if after.startswith(token)), None)
