"""Errors of the Hugging Face Hub and its caches, explained in one line, without access tokens."""

import os

from accel_clf.core.errors import ConfigError, UserError

# What httpx, its successor and Python raise where a connection is not made, or lost.
_CONNECTION_ERRORS = frozenset(
    (
        *("ConnectError", "ConnectTimeout", "ConnectionError", "ConnectionResetError", "NetworkError", "PoolTimeout"),
        *("ReadError", "ReadTimeout", "RemoteProtocolError", "TimeoutException", "WriteError", "WriteTimeout"),
        "JSONDecodeError",  # half an answer
    )
)
_BUSY_STATUSES = frozenset((408, 412, 429, 500, 502, 503, 504))


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


def _statuses(error: BaseException) -> set[int]:
    responses = (getattr(link, "response", None) for link in _chain(error))
    return {response.status_code for response in responses if response is not None}


def describe(error: BaseException) -> str:
    """Write in a few words what has gone wrong between here and the Hub, without addresses and tokens."""
    if statuses := _statuses(error):
        return f"the Hub answered {max(statuses)}"
    names = [type(link).__name__ for link in _chain(error)]
    name = next((name for name in names if name in _CONNECTION_ERRORS), names[0])
    return f"the connection to the Hub was lost ({name})" if name in _CONNECTION_ERRORS else name


def is_transient(error: BaseException) -> bool:
    """Whether it may go well at another try: the connection was lost, or the Hub is busy or has changed meanwhile."""
    if statuses := _statuses(error):
        return bool(statuses & _BUSY_STATUSES)
    return any(type(link).__name__ in _CONNECTION_ERRORS for link in _chain(error))


def explain_push(error: BaseException, name: str) -> UserError:
    """Turn an error that was raised while the repository `name` was pushed to into one that says what to do."""
    statuses, owner = _statuses(error), name.partition("/")[0]
    if 401 in statuses:
        return ConfigError(
            f"{name}: the Hub refused the access token",
            "a valid token that may write",
            "`hf auth whoami`; `hf auth login`",
        )
    if 403 in statuses:
        return ConfigError(
            f"{name}: this access token may not write there",
            f"a token that may write to repositories of {owner}",
            "check OWNER, and the token's permissions (https://huggingface.co/settings/tokens)",
        )
    if 404 in statuses:
        return ConfigError(f"{name}: there is no {owner} on the Hub", "your user name, or an organization of yours")
    again = "run the same command again: what was uploaded is not uploaded twice"
    if is_transient(error):
        return UserError(f"{name}: {describe(error)}, again and again", "a push that ends", again)
    lines = [line.strip() for line in str(getattr(error, "server_message", None) or error).splitlines() if line.strip()]
    return UserError(f"{name}: {describe(error)}: {' '.join(lines)[:300]}", "a push that ends", again)


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
