"""What may be asked and what is answered: requests are checked by it, and the API's description is made of it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class Parameters(Strict):
    """How to answer."""

    top_k: Annotated[int, Field(ge=1)] | None = None
    """So many labels a text, the likeliest first; null for all."""
    truncate: bool = True
    """Cut texts that are too long for the model (header X-Truncated tells which); otherwise they are refused."""
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None
    """What makes scores of the model's outputs; null for softmax."""


class PredictRequest(Strict):
    """Texts to label."""

    inputs: str | Annotated[list[str], Field(min_length=1)]
    """A text, or several."""
    parameters: Parameters | None = None


class Sentence(BaseModel):
    """A text to label."""

    sentence: str


class Text(Strict):
    """A text whose words are to be weighed."""

    inputs: str


class Column(BaseModel):
    """Where a file's texts are."""

    text: str | None = None
    """The column with the texts; without it, the one that the model was trained on."""


class Score(BaseModel):
    """A label and how sure the model is of it."""

    label: str
    score: float


class Scores(RootModel[list[list[Score]]]):
    """For each text its labels, the likeliest first."""


class Response(BaseModel):
    """What GET /predict answers."""

    sentence: str
    label: str
    scores: dict[str, float]
    truncated: bool
    time_taken: float
    """Seconds."""


class PredictResponse(BaseModel):
    """What GET /predict answers."""

    response: Response


class Part(BaseModel):
    """A stretch of the text, and how much of the label's score goes with it."""

    text: str
    weight: float


class Explanation(BaseModel):
    """What each word does: the score that the label loses without it."""

    label: str
    score: float
    method: Literal["occlusion"]
    truncated: bool
    parts: list[Part]


class Problem(BaseModel):
    """Why there is no answer."""

    error: str
    error_type: str
    request_id: str


class Info(BaseModel):
    """The model, and what a request may be."""

    model: str
    models: int
    labels: list[str]
    max_length: int
    precision: str
    device: str
    temperature: float
    versions: dict[str, str | None]
    limits: dict[str, float]


class Health(BaseModel):
    """How the server is."""

    status: str
