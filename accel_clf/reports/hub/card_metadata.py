"""The metadata of a model card, as far as its author and the run's settings tell it, and what the Hub takes of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from accel_clf.core.errors import ConfigError, closest
from accel_clf.reports.hub.card_facts import Facts, MeasuredSplit
from accel_clf.reports.hub.card_metrics import hub_metric, metric_title
from accel_clf.reports.hub.card_sources import HUB_ID, hub_id, source_of

# https://huggingface.co/docs/hub/repositories-licenses
_LICENSE_IDS = (
    "afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 "
    "bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 "
    "cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 "
    "cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 "
    "cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 "
    "etalab-2.0 eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 h-research "
    "intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit "
    "mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openmdw-1.0 openrail openrail++ osl-3.0 other pddl postgresql unknown "
    "unlicense wtfpl zlib"
)
LICENSES = frozenset(_LICENSE_IDS.split())
COMMON_LICENSES = ("apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "openrail", "other")
OF_SCORES = ("log_loss", "ece", "brier")  # metrics that a temperature changes
LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")


@dataclass(frozen=True)
class CardOptions:
    """What no run folder knows of its model.

    Attributes:
        license: its id on the Hub; None where there is no decision yet.
        license_name, license_link: of a license that is `other`.
        languages: ISO 639 codes.
        base_model: id on the Hub of the model that was fine-tuned; None takes it from the settings.
        dataset: id on the Hub of the data; None takes it from the settings.
    """

    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    languages: Sequence[str] = ()
    base_model: str | None = None
    dataset: str | None = None


def check_options(options: CardOptions) -> None:
    """Check what the Hub would refuse.

    Raises:
        ConfigError: a value that it does not know.
    """
    common = f"the id of a license on the Hub, such as {', '.join(COMMON_LICENSES)}"
    if options.license is not None and options.license not in LICENSES:
        raise ConfigError(
            f"--license {options.license}",
            common,
            closest(options.license.lower(), sorted(LICENSES)) or "--license other --license_name NAME",
        )
    if options.license == "other" and not options.license_name:
        raise ConfigError("--license other", "its name, too", "--license_name NAME, and --license_link ADDRESS")
    if options.license != "other" and (options.license_name or options.license_link):
        raise ConfigError("--license_name or --license_link", "of a license of your own", "--license other")
    for language in options.languages:
        if not LANGUAGE.fullmatch(language):
            raise ConfigError(
                f"--language {language}", "a code of two or three letters (ISO 639), such as en or de; or multilingual"
            )
    for flag, value in (("base_model", options.base_model), ("dataset", options.dataset)):
        if value is not None and not HUB_ID.fullmatch(value):
            raise ConfigError(f"--{flag} {value}", "an id on the Hub: OWNER/NAME")


def base_model_of(facts: Facts, options: CardOptions) -> str | None:
    """Return the Hub's id of the model that was fine-tuned, if it is there."""
    return options.base_model or hub_id(facts.config.model.name)


def dataset_of(facts: Facts, options: CardOptions) -> str | None:
    """Return the Hub's id of the data, if they are there."""
    return options.dataset or hub_id(facts.config.data.train)


def card_data(facts: Facts, options: CardOptions) -> ModelCardData:
    """Make the metadata of a model card.

    Args:
        facts: of the run.
        options: what its author says.
    """
    base_model, dataset = base_model_of(facts, options), dataset_of(facts, options)
    results = [result for split in facts.reported for result in _eval_results(facts, split, dataset)]
    return ModelCardData(
        license=options.license,
        license_name=options.license_name,
        license_link=options.license_link,
        language=list(options.languages) or None,
        base_model=base_model,
        datasets=[dataset] if dataset else None,
        library_name="accel_clf" if facts.folds else "transformers",  # which could not load several models
        pipeline_tag="text-classification",
        tags=["text-classification", "accel_clf", facts.target.kind.replace("_", "-")],
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        model_name=facts.name,
        eval_results=results or None,
    )


def _eval_results(facts: Facts, split: MeasuredSplit, dataset: str | None) -> list[EvalResult]:
    data, source = facts.config.data, source_of(facts.config.data, split.hub_split, dataset)
    place: dict[str, Any] = {
        "task_type": "text-classification",
        "dataset_name": source.name,
        "dataset_type": source.kind,
        # Which split of a data set on the Hub a file here has been is known to nobody.
        "dataset_split": source.split or (None if source.hub else split.hub_split),
    }
    if source.hub and source.hub == data.train:
        place |= {"dataset_config": data.config, "dataset_revision": data.revision}
    rows = split.title.lower()
    if split.hub_split == "train" and facts.calibrated_error is not None:
        rows += ", without the temperature"
    return [
        EvalResult(
            **place,
            metric_type=hub_metric(name, facts.target),
            metric_name=f"{metric_title(name, facts.target)} ({rows if name in OF_SCORES else split.title.lower()})",
            metric_value=round(value, 6),
        )
        for name, value in split.metrics.values.items()
        if isfinite(value)  # of some metrics there is none, where no row has a label
    ]
