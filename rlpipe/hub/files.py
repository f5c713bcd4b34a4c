"""Where a model's files are: a local folder, or the hub's files fetched into the local cache.

An unreachable hub is found out in one request of a few seconds; the hub client's own loading would
retry for half a minute. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rlpipe.core.errors import ModelError
from rlpipe.hub.facts import weights_folder

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

TIMEOUT = 5.0
"""Seconds to wait for the hub's first answer."""

FILES = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt"]
"""What a model is loaded from. No pickled weights: reading those can run code."""


def locate(source: str, revision: str | None) -> tuple[Path, list[str]]:
    """Return the local folder that holds a model's files, and notes on how it was found.

    `source` is a folder or a hub id (`organisation/name`). Raises ModelError when it is neither, when
    the hub does not know it or does not let us in, and within seconds when the hub is out of reach
    and no copy is in the local cache.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ModelError(
                f"model.revision={revision}",
                f"{source} is a local folder, which has no revisions",
                "leave model.revision out, or give a hub id as model.source",
            )
        inside = weights_folder(folder)
        return inside, [] if inside == folder else [f"{source}: a run's folder, whose model/ is taken"]
    if folder.exists():
        raise ModelError(f"model.source={source}", "is a file", "give the folder that holds config.json")
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise ModelError(
            f"model.source={source}",
            "there is no such folder, and a hub id looks like organisation/name",
            "check the path",
        )
    return _fetch(source, revision)


def _fetch(source: str, revision: str | None) -> tuple[Path, list[str]]:
    """Bring a hub model's files into the cache and return their folder."""
    from huggingface_hub import constants as hub
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError

    if hub.is_offline_mode():
        return _cached(source, revision, "HF_HUB_OFFLINE is set")
    info = _ask(source, revision)
    if isinstance(info, str):
        return _cached(source, revision, f"the hub cannot be reached ({info})")
    try:
        folder = snapshot_download(
            source,
            revision=info.sha,
            allow_patterns=FILES,
            ignore_patterns=["*/*", "consolidated*"],
            etag_timeout=TIMEOUT,
        )
    except (HTTPError, LocalEntryNotFoundError, OSError) as error:
        raise _refusal(source, revision, error) from error
    return Path(folder), [f"{source}: hub commit {info.sha}"]


def _ask(source: str, revision: str | None) -> ModelInfo | str:
    """Ask the hub about a model; return why not as text where the hub is out of reach."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    try:
        return HfApi().model_info(source, revision=revision, timeout=TIMEOUT)
    except (HfHubHTTPError, HFValidationError) as error:
        raise _refusal(source, revision, error) from error
    except (HTTPError, OSError) as error:
        return f"{type(error).__name__}: {error}"


def _cached(source: str, revision: str | None, reason: str) -> tuple[Path, list[str]]:
    """Return the cached copy of a hub model where the hub itself cannot be asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(source, revision=revision, allow_patterns=FILES, local_files_only=True))
    except HFValidationError as error:
        raise _refusal(source, revision, error) from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"model.source={source}",
            f"{reason}, and the local cache has no copy",
            (
                "connect to the network, give a local folder (model.source=path), or take a model that needs no "
                "download (model=tiny)"
            ),
        ) from error
    return folder, [f"{source}: hub commit {folder.name}, from the local cache because {reason}"]


def cannot_be_had(source: str, revision: str | None) -> str | None:
    """Return why a hub model cannot be had, where that is sure without asking: the hub is switched off, and no copy."""
    from huggingface_hub import constants as hub
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if not hub.is_offline_mode():
        return None
    try:
        found = try_to_load_from_cache(source, "config.json", revision=revision)
    except HFValidationError:
        return "it is no valid hub id"
    return None if isinstance(found, str) else "HF_HUB_OFFLINE is set"


def _refusal(source: str, revision: str | None, error: Exception) -> ModelError:
    """Say in our words why the hub did not give a model."""
    from huggingface_hub import errors as hub

    what, fix = f"the hub did not give it ({type(error).__name__}: {error})", "try again later"
    if isinstance(error, hub.GatedRepoError):
        what = "the hub gives this model only to accounts that accepted its licence"
        fix = f"accept it at https://huggingface.co/{source}, then `hf auth login` or set HF_TOKEN"
    elif isinstance(error, hub.RepositoryNotFoundError):
        what = "the hub has no such model, or it is private"
        fix = "check the spelling of organisation/name; for a private model, `hf auth login` or set HF_TOKEN"
    elif isinstance(error, hub.RevisionNotFoundError):
        what, fix = f"the model has no revision '{revision}'", "give an existing branch, tag or commit: model.revision"
    elif isinstance(error, hub.HFValidationError):
        what, fix = "not a folder, and not a valid hub id", "a hub id looks like organisation/name"
    return ModelError(f"model.source={source}", what, fix)


REACH_SECONDS = 5.0
"""How long the hub may take to answer the first request."""


def reach() -> str | None:
    """Return why the hub cannot be asked, or None when it answers within `REACH_SECONDS`."""
    import httpx2
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import OfflineModeIsEnabled

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        answer = get_session().head(constants.ENDPOINT, timeout=REACH_SECONDS)
    except (httpx2.HTTPError, httpx2.InvalidURL, OfflineModeIsEnabled, OSError) as error:
        return f"{constants.ENDPOINT}: {str(error) or type(error).__name__}"
    return f"{constants.ENDPOINT} answers {answer.status_code}" if answer.status_code >= 500 else None


@contextmanager
def cache_only(wanted: bool) -> Iterator[None]:
    """Keep the libraries from asking the hub, when `wanted`."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    if wanted:
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
