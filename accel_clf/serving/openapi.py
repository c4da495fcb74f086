"""What the API's description says of texts: it depends on what the run reads."""

from typing import Any

from accel_clf.data.texts import TextColumns, side_names

_STRING = {"type": "string"}


def describe_texts(spec: dict[str, Any], columns: TextColumns) -> None:
    """Describe the texts that requests may hold, in place.

    Args:
        spec: the OpenAPI description.
        columns: that the run's texts are in.
    """
    has_pairs = columns.pair is not None
    names = {side_names(has_pairs), columns.names} if len(columns.names) > 1 else {side_names(has_pairs)}
    objects = [_object_of(each) for each in sorted(names)]
    two = {"type": "array", "items": _STRING, "minItems": 2, "maxItems": 2}
    one = [*objects] if has_pairs else [_STRING, *objects]
    listed = [*objects, two] if has_pairs else one
    schemas = spec["components"]["schemas"]
    several = {"type": "array", "items": {"anyOf": listed}, "minItems": 1}
    for schema, forms in (("PredictRequest", [*one, several]), ("ExplainRequest", listed)):
        inputs = schemas[schema]["properties"]["inputs"]
        inputs["anyOf"] = forms
        inputs.pop("type", None)
    sentence, file = spec["paths"]["/predict"]["get"], spec["paths"]["/predict/file"]["post"]
    if has_pairs:
        for parameter in sentence["parameters"]:
            parameter |= {"required": True, "schema": _STRING}
    else:
        for operation, of_pairs in ((sentence, "sentence_pair"), (file, "pair")):
            operation["parameters"] = [each for each in operation["parameters"] if each["name"] != of_pairs]


def _object_of(names: tuple[str, ...]) -> dict[str, Any]:
    properties = dict.fromkeys(names, _STRING)
    return {"type": "object", "properties": properties, "required": list(names), "additionalProperties": False}
