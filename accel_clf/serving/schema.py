"""Models of requests and responses: they validate requests, and the OpenAPI description is generated from them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel


class StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class Parameters(StrictModel):
    """Options of a prediction."""

    top_k: Annotated[int, Field(ge=1)] | None = 20
    """Labels to return per text, the most likely first, beside those that are predicted; null returns all."""
    truncate: bool = True
    """Truncate texts that are too long for the model (header X-Truncated lists them); if false, they are refused."""
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None
    """Function that turns the model's logits into scores; null means the one that it was trained for."""


Named = dict[str, str]  # texts by name: "text" and "text_pair", or the training data's columns


class PredictRequest(StrictModel):
    """Texts to classify."""

    inputs: str | Named | Annotated[list[str | Named | list[str]], Field(min_length=1)]
    """One text, or a list of texts. Where the model reads pairs, each is {"text": ..., "text_pair": ...}, or two texts
    in a list inside the list of inputs. A text of several columns may be an object with their names."""
    parameters: Parameters | None = None


class LabelScore(BaseModel):
    """A label and the model's confidence in it; of a model that predicts a number, its name and the number."""

    label: str
    score: float
    predicted: bool | None = None
    """Whether the text has the label; only where it may have several."""


class PredictResponse(RootModel[list[list[LabelScore]]]):
    """The labels of each text, the most likely first."""


class SentenceQuery(BaseModel):
    """A text to classify, in the query string."""

    sentence: str
    sentence_pair: str | None = None
    """The second text, where the model reads pairs."""


class SentencePrediction(BaseModel):
    """The prediction for one sentence."""

    sentence: str
    label: str
    scores: dict[str, float]
    set: list[str] | None = None
    """Labels of which one is right, where none is given: only of a server with a risk."""
    truncated: bool
    time_taken: float
    """Seconds."""


class SentenceResponse(BaseModel):
    """Response of GET /predict."""

    response: SentencePrediction


class ExplainRequest(StrictModel):
    """A text whose word importance is computed."""

    inputs: str | Named | list[str]
    """As one of those of POST /predict."""
    label: str | None = None
    """The label that is explained; null means the predicted one, of several the most likely."""


class WeightedPart(BaseModel):
    """A span of the text, and how much of the label's score is lost without it."""

    text: str
    weight: float
    side: Literal["text", "text_pair"] | None = None
    """The text of a pair that the span is in; only where the model reads pairs."""


class ExplainResponse(BaseModel):
    """Word importance: the score that the label loses when a word is left out."""

    label: str
    score: float
    method: Literal["occlusion"]
    truncated: bool
    parts: list[WeightedPart]


class FileQuery(StrictModel):
    """Where the texts are in an uploaded file."""

    text: str | list[str] | None = None
    """Name of the text column, or of each of several that are joined; by default those of the training data."""
    pair: str | None = None
    """Name of the column with the second texts, where the model reads pairs; by default that of the training data."""


class InfoResponse(BaseModel):
    """The model and the limits on requests."""

    model: str
    models: int
    target: str
    pairs: bool
    """Whether it reads pairs of texts."""
    labels: list[str]
    thresholds: dict[str, float]
    max_length: int
    precision: str
    device: str
    temperature: float
    versions: dict[str, str | None]
    limits: dict[str, float]


class HealthResponse(BaseModel):
    """Health of the server."""

    status: str


class ErrorResponse(BaseModel):
    """Why the request was refused or failed."""

    error: str
    error_type: str
    request_id: str
