"""Every setting of the server, once: flags, `--help`, defaults, checks and the documentation's table come from here."""

from typing import Annotated, Literal

from pydantic import Field

from accel_clf.config.schema import Section
from accel_clf.config.values import Count, Origin


class ServeConfig(Section):
    """The server. The API key that clients must send, if any, is in the environment: ACCEL_CLF_API_KEY."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all addresses of this machine."""
    port: Annotated[int, Field(ge=0, lt=2**16)] = 8000
    """Port to listen on; 0 for any free one."""
    names: tuple[str, ...] = ()
    """Host headers to accept; by default the loopback names when listening on loopback, otherwise any."""
    origins: tuple[Origin, ...] = ()
    """Sites whose pages may use the server from a browser (CORS), such as https://example.org; `*`: any site's."""
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    """Precision of matrix products; auto: bf16 where the hardware is fast at it. int8 needs `check`."""
    check: str | None = None
    """File with labelled rows on which int8 must be as accurate as fp32."""
    max_loss: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Accuracy that int8 may lose on the rows of `check`."""
    risk: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of wrong answers among those given; other texts get `abstain` and a set of labels. null: every text gets a
    label. For runs with data.calibration, and cross-validations."""
    threads: Count | None = None
    """CPU threads that compute; null: one per core."""
    batch_tokens: Count | None = None
    """Maximum tokens per batch; null: by device."""
    queue: Count = 256
    """Maximum requests in flight; more get 429 with Retry-After."""
    max_texts: Count = 256
    """Maximum texts per request."""
    max_megabytes: Annotated[float, Field(gt=0)] = 2.0
    """Maximum size of a request, in megabytes."""
    max_file_megabytes: Annotated[float, Field(gt=0)] = 64.0
    """Maximum size of an uploaded file, in megabytes."""
    timeout: Annotated[float, Field(gt=0)] = 30.0
    """Request timeout, in seconds."""
    log_requests: bool = False
    """Log a line per request, with its id, status and time, never its texts."""
    grace: Annotated[float, Field(ge=0)] = 30.0
    """Graceful shutdown: seconds in which requests in flight are finished."""
