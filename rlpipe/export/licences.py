"""Which licence a hub model has: an export's card repeats it, for it binds what is made from the model."""

from __future__ import annotations

from rlpipe.hub.files import TIMEOUT


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
