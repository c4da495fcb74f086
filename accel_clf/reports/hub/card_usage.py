"""How a pushed model is used: code that runs as it stands in the model card, by transformers and by accel_clf."""

import json

from accel_clf.reports.hub.card_facts import Facts
from accel_clf.run_folder.layout import fold_name

_TEXT, _PAIR = "Text to classify.", "The text beside it."

_DECISIONS = {
    "single_label": """
scores = logits.softmax(-1).mean(0)
print(names[int(scores.argmax())], float(scores.max()))
""",
    "multi_label": """
scores = logits.sigmoid().mean(0)
print([name for name, score in zip(names, scores.tolist(), strict=True) if score >= thresholds[name]])
""",
    "ordinal": """
goes_on = torch.nn.functional.pad(logits.sigmoid(), (1, 0), value=1.0)  # an output for each step to the next label
stops = torch.nn.functional.pad(1 - goes_on[..., 1:], (0, 1), value=1.0)
scores = (goes_on.cumprod(-1) * stops).mean(0)
print(names[int((scores.cumsum(-1)[:-1] < 0.5).sum())], scores.tolist())  # the median
""",
    "regression": """
print(float(logits.mean(0)))
""",
}


def usage(facts: Facts) -> str:
    """Write the section on use, in Markdown.

    Args:
        facts: of the run.
    """
    return "\n\n".join(
        [
            "## Use",
            "With transformers:",
            _block("python", _by_models(facts) if _needs_models(facts) else _by_pipeline(facts)),
            *_differences(facts),
            f"With accel_clf{', which computes what was measured below' if facts.splits else ''}:",
            _block("python", _by_accel_clf(facts)),
            "The same from the command line, and as a server with the API of the Hub's text-classification:",
            _block("sh", _commands(facts)),
        ]
    )


def _block(language: str, code: str) -> str:
    return f"```{language}\n{code.strip()}\n```"


def _needs_models(facts: Facts) -> bool:
    """Return whether transformers' pipeline could not answer: there are several models, or outputs are its unknown."""
    return bool(facts.folds) or facts.target.kind == "ordinal" or facts.rescaling is not None


def _options(facts: Facts) -> str:
    return ", trust_remote_code=True" if facts.config.model.allow_code else ""


def _by_pipeline(facts: Facts) -> str:
    kind = facts.target.kind
    options = {"multi_label": ", top_k=None", "regression": ', function_to_apply="none"'}.get(kind, "")
    has_pairs = facts.config.data.pair is not None
    text = json.dumps({"text": _TEXT, "text_pair": _PAIR} if has_pairs else _TEXT)
    lines = [
        "from transformers import pipeline",
        "",
        f'classifier = pipeline("text-classification", "{facts.repo_id}", truncation=True{options}{_options(facts)})',
    ]
    if kind != "multi_label":
        return "\n".join([*lines, f"print(classifier({text}))"])
    if facts.target.thresholds_by_name():
        lines += [
            "config = classifier.model.config",
            'thresholds = dict(zip(config.id2label.values(), config.accel_clf["thresholds"], strict=True))',
        ]
    threshold = 'thresholds[item["label"]]' if facts.target.thresholds_by_name() else "0.5"
    lines += [
        f"scores = classifier({text if has_pairs else f'[{text}]'})" + ("" if has_pairs else "[0]"),
        f'print([item["label"] for item in scores if item["score"] >= {threshold}])',
    ]
    return "\n".join(lines)


def _by_models(facts: Facts) -> str:
    """Write what loads one or several models, and decides as accel_clf does."""
    repository, options, kind = f'"{facts.repo_id}"', _options(facts), facts.target.kind
    thresholds, has_file = _thresholds(facts)
    load = "AutoModelForSequenceClassification.from_pretrained"
    if facts.folds:
        folder = f'subfolder=f"{fold_name(0)[:-1]}{{fold}}"'
        models = f"[\n    {load}({repository}, {folder}{options})\n    for fold in range({facts.folds})\n]"
        options = f', subfolder="{fold_name(0)}"{options}'
    else:
        models = f"[{load}({repository}{options})]"
    names = 'config.accel_clf["labels"]' if kind == "ordinal" else "list(config.id2label.values())"
    texts = f"{json.dumps(_TEXT)}, {json.dumps(_PAIR)}" if facts.config.data.pair is not None else json.dumps(_TEXT)
    return "\n".join(
        [
            *(["import json", ""] if has_file else []),
            "import torch",
            *(["from huggingface_hub import hf_hub_download"] if has_file else []),
            "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
            "",
            f"models = {models}",
            f"tokenizer = AutoTokenizer.from_pretrained({repository}{options})",
            *(["config = models[0].config", f"names = {names}"] if kind != "regression" else []),
            *thresholds,
            f'inputs = tokenizer({texts}, truncation=True, return_tensors="pt")',
            "with torch.inference_mode():",
            "    logits = torch.cat([model(**inputs).logits for model in models])" + _rescaled(facts),
            _DECISIONS[kind].strip(),
        ]
    )


def _thresholds(facts: Facts) -> tuple[list[str], bool]:
    """Write what reads the scores from which labels are given; and say whether it reads a file."""
    if facts.target.kind != "multi_label":
        return [], False
    if not facts.target.thresholds_by_name():
        return ["thresholds = dict.fromkeys(names, 0.5)"], False
    if not facts.folds:
        return ['thresholds = dict(zip(names, config.accel_clf["thresholds"], strict=True))'], False
    path = f'hf_hub_download("{facts.repo_id}", "metrics.json")'
    return [f'with open({path}, encoding="utf-8") as file:', '    thresholds = json.load(file)["thresholds"]'], True


def _rescaled(facts: Facts) -> str:
    scale, shift = facts.rescaling or (1.0, 0.0)
    scale /= facts.temperature
    if facts.temperature != 1.0:
        shift /= facts.temperature
    return (f" * {scale!r}" if scale != 1.0 else "") + (f" + {shift!r}" if shift else "")


def _differences(facts: Facts) -> list[str]:
    """Say, in a paragraph or none, where transformers' answers are others than accel_clf's."""
    data, differences = facts.config.data, []
    if data.windows.stride is not None:
        differences.append(
            f"transformers reads the first {data.max_length} tokens of a longer text, accel_clf reads all of it in "
            "windows"
            + (", by a weight that transformers reports as unexpected" if data.windows.pool == "attention" else "")
        )
    if data.symmetric:
        differences.append("accel_clf answers by the mean of both orders of a pair")
    return [f"What differs there: {'; '.join(differences)}."] if differences else []


def _by_accel_clf(facts: Facts) -> str:
    text = json.dumps([{"text": _TEXT, "text_pair": _PAIR}] if facts.config.data.pair is not None else [_TEXT])
    return f"""
import accel_clf
from huggingface_hub import snapshot_download

run = accel_clf.load(snapshot_download("{facts.repo_id}"))
print(run.predict({text}))
"""


def _commands(facts: Facts) -> str:
    folder = facts.name
    predict = f"accel-clf predict {folder} {json.dumps(_TEXT)}"
    if facts.config.data.pair is not None:
        predict = f"accel-clf predict {folder} --data pairs.csv --output answers.csv"
    return f"""
hf download {facts.repo_id} --local-dir {folder}
{predict}
accel-clf serve {folder}
"""
