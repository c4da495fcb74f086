"""How experiment trackers name a run."""

from typing import Annotated

from pydantic import Field

from accel_clf.config.model_schema import Section


class TrackingConfig(Section):
    """Under which names trackers keep a run."""

    project: Annotated[str, Field(min_length=1)] = "accel_clf"
    """Project (MLflow: experiment) of the run."""
    group: Annotated[str, Field(min_length=1)] | None = None
    """Group of runs that belong together; null: none, and for a cross-validation its folder's name."""
