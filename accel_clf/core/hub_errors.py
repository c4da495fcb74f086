"""Errors of the Hugging Face Hub and its caches, explained in one line, without access tokens."""

import os

from accel_clf.core.errors import UserError


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and the errors that it was raised from, outermost first."""
    links: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in links:
        links.append(current)
        current = current.__cause__ or current.__context__
    return links


def is_offline() -> bool:
    """Return whether the user has forbidden the Hub's libraries to use the network."""
    return any(
        os.environ.get(name, "").upper() in ("1", "TRUE", "YES", "ON")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def explain(error: BaseException, resource: str, name: str, error_type: type[UserError]) -> UserError:
    """Turn an error that was raised while `name` was fetched into one that says what to do.

    The libraries' messages vary from release to release and may repeat request headers, so the classes and HTTP
    statuses in the chain are read instead.

    Args:
        error: what transformers, datasets or huggingface_hub raised.
        resource: "model" or "data set".
        name: the Hub id or folder that was requested.
        error_type: ConfigError or DataError.
    """
    chain = _chain(error)
    classes = {type(link).__name__ for link in chain}
    statuses = {getattr(getattr(link, "response", None), "status_code", None) for link in chain}
    local = f"a local folder with the {resource}'s files works, too"
    expected = f"the id of a {resource} on the Hub, or a local folder"
    if "GatedRepoError" in classes or 403 in statuses:
        return error_type(
            f"{resource} {name}: gated; access is granted by its owners only",
            fix=f"ask for access on its Hub page, then run `hf auth login`; {local}",
        )
    if 401 in statuses and os.environ.get("HF_TOKEN"):
        return error_type(
            f"{resource} {name}: not found, or the Hub refused the token in HF_TOKEN",
            expected,
            "check the spelling, and that the token is valid (`hf auth whoami`)",
        )
    if is_offline() and classes & {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectionError", "OSError"}:
        return error_type(
            f"{resource} {name}: not in the local cache, and HF_HUB_OFFLINE is set",
            expected,
            f"unset HF_HUB_OFFLINE once to fetch it; {local}",
        )
    if statuses & {401, 404} or classes & {"RepositoryNotFoundError", "DatasetNotFoundError", "HFValidationError"}:
        return error_type(
            f"{resource} {name}: no such {resource} on the Hub, and no such folder",
            expected,
            "check the spelling; for a private one run `hf auth login` first",
        )
    return error_type(
        f"{resource} {name}: the Hub did not answer ({type(error).__name__})",
        expected,
        f"try again later; {local}",
    )
