"""What a composition error means in the words of the command line: what, where, a guess, and what to do.

Hydra and OmegaConf say which rule was broken; this module says which override broke it and what was
probably meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from rlpipe.config import plugins
from rlpipe.config.fields import Field, fields
from rlpipe.config.options import options
from rlpipe.config.overrides import key_of
from rlpipe.core.errors import ConfigError, Problem, guess


@contextmanager
def composing(overrides: Sequence[str], folders: Sequence[Path] = ()) -> Iterator[None]:
    """Raise ConfigError instead of what Hydra and OmegaConf raise; `folders` are the user's own config folders."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([problem(error, overrides, folders)]) from error
    except (ValueError, TypeError) as error:
        if not _raised_in(error, "hydra."):
            raise
        raise ConfigError([problem(error, overrides, folders)]) from error
    except AssertionError as error:
        below = [one for one in overrides if one.lstrip("+").startswith(NULLABLE)]
        if not below or not _raised_in(error, "omegaconf."):
            raise
        raise ConfigError([_field_of_nothing(one, folders) for one in below]) from error


NULLABLE = ("environment.",)
"""The beginnings of keys below a group that holds nothing unless an option of it is chosen."""


def _field_of_nothing(override: str, folders: Sequence[Path]) -> Problem:
    group = key_of(override).partition(".")[0]
    known = ", ".join(options(folders)[group])
    return Problem(override, f"there is no {group}", f"choose the option that has the field first ({group}=…): {known}")


def _raised_in(error: Exception, package: str) -> bool:
    """Whether a plain Python error is Hydra's or OmegaConf's verdict (of Hydra `method=3` is a ValueError)."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith(package)


def problem(error: Exception, overrides: Sequence[str], folders: Sequence[Path] = ()) -> Problem:
    """Return the problem behind a composition error."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_option(error, folders)
    if isinstance(error, OverrideParseException):
        return _unreadable(error, folders)
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return _unknown_key(cause, overrides, folders)
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return _wrong_value(cause, overrides, folders)
    return _absent_field(error, overrides) or _other(error, overrides)


def _absent_field(error: Exception, overrides: Sequence[str]) -> Problem | None:
    """Say which choice lacks a field that an experiment sets; None where the error is another."""
    found = re.match(r"In '(.+?)': ConfigKeyError .*?full_key: (\S+)", str(error), re.DOTALL)
    if found is None:
        return None
    file, key = found.groups()
    group, _, rest = key.partition(".")
    chosen = next((one for one in overrides if key_of(one) == group and "=" in one), None)
    if chosen is None:
        return None
    fix = f"leave {chosen} out"
    if group in plugins.SEVERAL:
        option = rest.split(".")[0]
        fix = f"name {option} in it too; or {fix}, and take away what is not wanted: '~{group}.{option}'"
    return Problem(chosen, f"{file} sets {key}, which this choice does not have", fix)


def _unknown_option(error: MissingConfigException, folders: Sequence[Path]) -> Problem:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    by = re.match(r"In '(.+?)':", str(error))
    where = f"{group}={name}" if group else name
    if by and by[1] != "config":
        where += f" (named by '{by[1]}')"
    if not group:
        return Problem(where, "there is no config of this name", "name a file of --config-path, without .yaml")
    known = options(folders).get(group, {}) if not error.options else error.options
    return Problem(where, f"there is no option '{name}' in the group '{group}'", guess(name, known))


def _unreadable(error: OverrideParseException, folders: Sequence[Path]) -> Problem:
    text = error.override
    if "=" in text or text.startswith("~"):
        reason = str(error).splitlines()[0]
        key, _, value = text.partition("=")
        bare = value.strip("'\"")
        fix = f"close every bracket and quote; a value with '~', ',', '=' or spaces is quoted twice: '{key}=\"{bare}\"'"
        return Problem(text, f"cannot be read as name=value ({reason})", fix)
    groups = options(folders)
    if text in groups:
        return Problem(text, "lacks '=' and a value", f"write {text}=OPTION; options: {', '.join(groups[text])}")
    owners = [group for group, known in groups.items() if text in known]
    if owners:
        return Problem(
            text, "lacks the name of its group", f"did you mean {' or '.join(f'{o}={text}' for o in owners)}?"
        )
    return Problem(
        text, "lacks '=' and a value", "write name=value, for example method=dpo or seed=1; commands: rlpipe --help"
    )


def _unknown_key(cause: OmegaConfBaseException, overrides: Sequence[str], folders: Sequence[Path]) -> Problem:
    unknown = str(cause.full_key)
    where = _override_at(unknown, overrides)
    key = key_of(where) if where else unknown
    known = _known_fields(overrides, folders)
    parent = key.rpartition(".")[0]
    if any(field.path == parent and isinstance(field.value, dict) for field in known):
        return Problem(
            where or key, f"'{parent}' has no entry of this name yet", f"add it with a plus: +{where or key}"
        )
    instead = _instead(key)
    if instead:
        return Problem(where or key, f"there is no field '{key}'", instead)
    paths = [field.path for field in known]
    groups = list(options(folders))
    hint = _guess_path(key, [*paths, *groups])
    siblings = _siblings(parent, known)
    listed = (
        f"known in '{parent}': {', '.join(siblings)}" if siblings else f"groups: {', '.join(groups)}; see rlpipe --help"
    )
    head = key.split(".")[0]
    if head in ("reward", "tool", "evaluation") and not siblings:
        listed = f"choose the option that has it first ({head}=…): {', '.join(options(folders)[head])}"
    return Problem(where or key, f"there is no field or group '{key}'", hint + listed)


def _instead(key: str) -> str | None:
    """Return what a reward's plugin says about a field that it does not have."""
    kind, _, rest = key.partition(".")
    name, _, field = rest.partition(".")
    plugin = plugins.table().get(kind, {}).get(name)
    instead: dict[str, str] = getattr(plugin.cls, "instead", {}) if plugin is not None else {}
    return instead.get(field)


def _wrong_value(cause: OmegaConfBaseException, overrides: Sequence[str], folders: Sequence[Path]) -> Problem:
    key = str(cause.full_key)
    what = str(cause.msg or cause).splitlines()[0]
    where = _override_at(key, overrides) or key
    known = {field.path: field for field in _known_fields(overrides, folders)}
    field = known.get(key)
    listed = re.search(r"expected one of \[(.*)\]", what)
    if listed:
        value = where.partition("=")[2]
        return Problem(where, f"'{value}' is none of the values of {key}", guess(value, listed[1].split(", ")))
    if field is None:
        inner = ", ".join(path for path in known if path.startswith(key + "."))
        fix = f"give one of its fields a value: {inner}" if inner else "see the fields with: rlpipe GROUP=OPTION --help"
        return Problem(where, what, fix)
    fix = f"{key} takes {field.type or 'another type'}, for example {key}={field.shown}"
    return Problem(where, what, fix + (f" ({field.doc.splitlines()[0]})" if field.doc else ""))


def _other(error: Exception, overrides: Sequence[str]) -> Problem:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [override for override in overrides if key_of(override) in str(error)]
    where = named[0] if named else "command line"
    if error.__cause__ is not None:
        lines += [line.strip() for line in str(error.__cause__).splitlines()[:1]]
    what, *rest = lines or [type(error).__name__]
    if "Could not override 'after'" in what:  # it stands behind the experiments: the command line has the last word
        fix = "name it above the overrides as `- /after@_global_: OPTION`, or write the list out: after: [method=sft]"
        rest = [fix]
    return Problem(where, what, " ".join(rest) or "see rlpipe --help; HYDRA_FULL_ERROR=1 shows where it was raised")


def _override_at(key: str, overrides: Sequence[str]) -> str:
    """Return the override that names `key` or something below it."""
    for override in overrides:
        named = key_of(override)
        if named == key or named.startswith(key + "."):
            return override
    return ""


def _known_fields(overrides: Sequence[str], folders: Sequence[Path]) -> list[Field]:
    """Return the fields that the chosen options have, or those of the default options where they do not compose."""
    from rlpipe.config.hydra import compose_raw

    groups = options(folders)
    choices = [override for override in overrides if key_of(override) in groups and "=" in override]
    for attempt in ([_first_choice(choice) for choice in choices], []):
        try:
            config = compose_raw(attempt, folders)
        except (HydraException, OmegaConfBaseException):
            continue
        return list(fields(config))
    return []


def _first_choice(override: str) -> str:
    """Return `method=dpo` of a sweep's `method=dpo,kto`."""
    key, _, value = override.partition("=")
    return override if value.startswith(("[", "'", '"')) else f"{key}={value.split(',')[0]}"


def _guess_path(key: str, paths: Sequence[str]) -> str:
    last = key.rpartition(".")[2]
    same_name = [path for path in paths if path.rpartition(".")[2] == last]
    similar = difflib.get_close_matches(key, paths, n=1, cutoff=0.6)
    close = same_name[:3] or similar
    return f"did you mean {' or '.join(close)}? " if close else ""


def _siblings(parent: str, known: Sequence[Field]) -> list[str]:
    prefix = f"{parent}." if parent else ""
    names = [field.path.removeprefix(prefix).split(".")[0] for field in known if field.path.startswith(prefix)]
    return list(dict.fromkeys(names)) if parent else []
