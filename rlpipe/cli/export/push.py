"""Putting an exported folder on the hub, with the user's own token; `check` finds out early what would fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rlpipe.core.errors import RlpipeError
from rlpipe.hub.files import TIMEOUT


def check(repo: str) -> None:
    """Raise RlpipeError unless a hub is in reach that takes this user's token and could hold the repository."""
    import huggingface_hub
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise RlpipeError(f"--push {repo}", f"no name for a repository: {error}", "give name or user/name") from error
    if huggingface_hub.constants.is_offline_mode():
        raise RlpipeError(f"--push {repo}", "HF_HUB_OFFLINE is set", "unset it, or leave --push out")
    if huggingface_hub.get_token() is None:
        raise RlpipeError(f"--push {repo}", "no token of yours is here", "`hf auth login`, or set HF_TOKEN")
    with _explained(repo), suppress(RepositoryNotFoundError):  # one that is not there will be made
        HfApi().model_info(repo, timeout=TIMEOUT)


def push(folder: Path, repo: str, private: bool | None) -> str:
    """Make the repository if need be, upload the folder as one commit, and return the address of that."""
    from huggingface_hub import HfApi

    with _explained(repo):
        api = HfApi()
        made = api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Export from rlpipe")
    return str(commit.commit_url)


@contextmanager
def _explained(repo: str) -> Iterator[None]:
    """Turn what the hub's client raises into an error that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    try:
        yield
    except HfHubHTTPError as error:
        code = error.response.status_code
        fix = (
            "check the spelling, and that your token may write there" if code in (401, 403, 404) else "try again later"
        )
        what = str(error).strip().splitlines()[-1]
        raise RlpipeError(f"--push {repo}", f"the hub refused it ({code}: {what})", fix) from error
    except (HTTPError, OSError) as error:
        raise RlpipeError(
            f"--push {repo}",
            f"the hub cannot be reached ({type(error).__name__}: {error})",
            "connect to the network, or leave --push out",
        ) from error


def licence_of(base: str | None) -> str | None:
    """Return the hub's id of a hub model's licence (`apache-2.0`); None where there is no such model, or no answer.

    Asks the hub once, within seconds, and not at all where HF_HUB_OFFLINE is set.
    """
    if base is None:
        return None
    import huggingface_hub
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    if huggingface_hub.constants.is_offline_mode():
        return None
    try:
        data = HfApi().model_info(base, timeout=TIMEOUT).card_data
    except (HfHubHTTPError, HTTPError, OSError):
        return None  # the command says that the licence is not known
    return data.license if data is not None and isinstance(data.license, str) else None
