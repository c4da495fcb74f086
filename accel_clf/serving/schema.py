"""Models of requests and responses: they validate requests, and the OpenAPI description is generated from them."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

FileEncoding = Literal[
    "utf-8", "utf-16", "cp1250", "cp1251", "cp1252", "latin-1", "big5", "euc-kr", "gb18030", "shift-jis"
]  # fmt: skip


class StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class LenientModel(StrictModel):
    """What clients of other servers send, too: keys that are not known are ignored, and named by X-Warning."""

    model_config = ConfigDict(extra="allow")

    def ignored(self) -> list[str]:
        """Return the paths of the keys that are not known."""
        names = list(self.model_extra or ())
        for name in type(self).model_fields:
            if isinstance(value := getattr(self, name), LenientModel):
                names += [f"{name}.{key}" for key in value.ignored()]
        return names


class Parameters(LenientModel):
    """Options of a prediction."""

    top_k: Annotated[int, Field(ge=1)] | None = 20
    """Labels to return per text, the most likely first, beside those that are predicted; null returns all."""
    truncate: bool | None = None
    """Truncate texts that are too long for the model (header X-Truncated lists them), as by default; if false, they
    are refused."""
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None
    """Function that turns the model's logits into scores; null means the one that it was trained for."""


class Options(LenientModel):
    """Options of the Hub's inference API; there is nothing here to wait for, and no cache."""

    wait_for_model: bool | None = None
    use_cache: bool | None = None
    use_gpu: bool | None = None


Named = dict[str, str]  # texts by name: "text" and "text_pair", or the training data's columns


class PredictRequest(LenientModel):
    """Texts to classify."""

    inputs: str | Named | Annotated[list[str | Named | list[str]], Field(min_length=1)]
    """One text, or a list of texts. Where the model reads pairs, each is {"text": ..., "text_pair": ...}, or two texts
    in a list inside the list of inputs. A text of several columns may be an object with their names."""
    parameters: Parameters | None = None
    options: Options | None = None
    truncate: bool | None = None
    """The parameter, as text-embeddings-inference has it."""
    truncation_direction: Literal["left", "right", "Left", "Right"] | None = None
    """The end that truncation removes from a text; null means the one of the model's tokenizer."""
    raw_scores: bool | None = None
    """Return the model's logits: the parameter `"function_to_apply": "none"`."""

    def should_truncate(self) -> bool:
        """Return whether texts that are too long are truncated."""
        parameter = self.parameters.truncate if self.parameters else None
        return next((value for value in (parameter, self.truncate) if value is not None), True)

    def function(self) -> str | None:
        """Return the function that is applied to logits; None for the one that the model was trained for."""
        return "none" if self.raw_scores else self.parameters.function_to_apply if self.parameters else None

    @model_validator(mode="after")
    def _check_contradictions(self) -> Self:
        parameters = self.parameters or Parameters()
        if None not in (self.truncate, parameters.truncate) and self.truncate != parameters.truncate:
            raise ValueError("truncate and parameters.truncate contradict each other")
        function = parameters.function_to_apply
        if None not in (self.raw_scores, function) and self.raw_scores != (function == "none"):
            raise ValueError("raw_scores and parameters.function_to_apply contradict each other")
        return self


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
    """Where the texts are in an uploaded file, and how it is read."""

    text: str | list[str] | None = None
    """Name of the text column, or of each of several that are joined; by default those of the training data."""
    pair: str | None = None
    """Name of the column with the second texts, where the model reads pairs; by default that of the training data."""
    separator: Annotated[str, Field(pattern=r'^[^"\r\n]$')] | None = None
    """Separator of the fields of .csv and .tsv files; by default that of the training data, as is what follows."""
    quoting: Literal["standard", "none"] | None = None
    """Quotes in them: enclose fields, or are letters."""
    encoding: FileEncoding | None = None
    """Encoding of the file. The response is UTF-8."""
    header: Annotated[bool, Field(strict=False)] | None = None
    """Whether the first row names the columns; otherwise they are numbered from 1."""
    errors: Literal["stop", "skip"] = "stop"
    """Whether a text that the model fails on ends the request, or is left without an answer, with the reason in the
    column `error`, which there is then."""


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
