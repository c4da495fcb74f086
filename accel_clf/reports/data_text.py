"""What `doctor DATA` prints: a data set on a screen or two of 80 columns."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from accel_clf.core.console import format_table

WIDTH = 80
FIRST, LAST = 6, 3  # labels that are listed: the most frequent ones, and the rarest
LONGEST_NAME = 40
INDENT = 18


def data_text(report: Mapping[str, Any]) -> str:
    """Write a report by `reports.data.examine`."""
    source, rows, target = report["source"], report["rows"], report["target"]
    size = f", {_bytes(source['bytes'])}" if "bytes" in source else ""
    parts = [
        "\n".join(
            [
                _entry("data", f"{source['name']} ({source['kind']}{size})"),
                *([_entry("columns", ", ".join(map(repr, report["columns"])))] if report["columns"] else []),
                _entry("rows", _rows(rows)),
                *([_entry("split", _splits(report["splits"]))] if report["splits"] else []),
                _entry("target", f"{target['description']} ({target['type']}: {target['reason']})"),
            ]
        ),
        _labels(report["labels"], rows["usable"]),
        _lengths(report["lengths"]),
        *([_languages(report["languages"])] if report["languages"] else []),
        "\n".join([_entry("same texts", _twins(report["twins"])), *_near(report["near_duplicates"])]),
    ]
    if report["warnings"]:
        parts.append("warnings\n" + "\n".join(_item(warning) for warning in report["warnings"]))
    if report["problems"]:
        parts.append("cannot be trained on\n" + "\n".join(map(_problem, report["problems"])))
    settings = yaml.safe_dump(report["settings"], sort_keys=False, allow_unicode=True)
    parts.append("settings (all others are the defaults)\n" + textwrap.indent(settings.rstrip(), "  "))
    return "\n\n".join(parts)


def _entry(name: str, text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=f"{name:{INDENT}}", subsequent_indent=" " * INDENT)


def _item(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="  - ", subsequent_indent="    ")


def _problem(problem: Mapping[str, str]) -> str:
    first, *others = (f"{name}: {text}" if name != "got" else text for name, text in problem.items() if text)
    return "\n".join([_item(first), *(textwrap.indent(textwrap.fill(text, WIDTH - 4), "    ") for text in others)])


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{count} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def _rows(rows: Mapping[str, int]) -> str:
    problems = [f"{count:,} with {name}" for name, count in rows.items() if name not in ("read", "usable") and count]
    if not problems:
        return f"{rows['read']:,}"
    return f"{rows['read']:,}, {', '.join(problems)}; all figures below are of {rows['usable']:,} rows"


def _splits(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _labels(labels: Mapping[str, Any], rows: int) -> str:
    if "numbers" in labels:
        of = {name: f"{value:.4g}" for name, value in labels["numbers"].items()}
        return format_table(["", *of], [["numbers", *of.values()]])
    counts = list(labels["counts"].items())
    if len(counts) <= FIRST + LAST + 1:
        table = [_label_row(name, count, rows) for name, count in counts]
    else:
        table = [
            *(_label_row(name, count, rows) for name, count in counts[:FIRST]),
            [f"... {len(counts) - FIRST - LAST} more", "", ""],
            *(_label_row(name, count, rows) for name, count in counts[-LAST:]),
        ]
    if without := labels.get("rows_without"):
        table.append(["(rows without a label)", f"{without:,}", f"{without / rows:.1%}"])
    return format_table(["label", "rows", "share"], table)


def _label_row(name: str, count: int, rows: int) -> list[str]:
    return [_shortened(name, LONGEST_NAME), f"{count:,}", f"{count / rows:.1%}"]


def _shortened(text: str, length: int) -> str:
    """Write a label or a text in quotes, without what would move the cursor."""
    written = repr(text)
    return written if len(written) <= length else f"{written[: length - 3]}..."


def _lengths(lengths: Mapping[str, Any]) -> str:
    units = [unit for unit in ("characters", "words", "tokens") if unit in lengths]
    table = format_table(
        ["length of texts in", *lengths[units[0]]],
        [[unit, *(f"{value:,.0f}" for value in lengths[unit].values())] for unit in units],
    )
    share, most = lengths["share_cut"], lengths["max_length"]
    if lengths["tokenizer"] is None:
        note = f"{share:.1%} have more than {most} words, and at least so many are cut at {most} tokens"
        note += " (data.max_length). The model's tokenizer is not on this machine"
    else:
        note = f"{share:.1%} are cut at {most} tokens (data.max_length), by the tokenizer of {lengths['tokenizer']}"
    return f"{table}\n{textwrap.fill(note, WIDTH, initial_indent='  ', subsequent_indent='  ')}"


def _languages(languages: Mapping[str, Any]) -> str:
    told = languages["texts"] - languages["too_short"]
    shares = [f"{code} {count / told:.1%}" for code, count in languages["counts"].items()]
    more = [f"{len(shares) - FIRST} more"] if len(shares) > FIRST else []
    of = f"{told:,} texts" + (
        f" ({languages['too_short']:,} more are too short to tell)" if languages["too_short"] else ""
    )
    return _entry("languages", ", ".join(shares[:FIRST] + more) + f", of {of}")


def _twins(twins: Mapping[str, int]) -> str:
    differing = twins["texts_with_different_labels"]
    different = f"; {differing:,} of these texts have different labels" if differing else ""
    return f"{twins['rows']:,} rows have the text of another row{different}"


def _near(near: Mapping[str, Any] | None) -> Sequence[str]:
    if near is None:
        return [_entry("similar texts", "not searched for")]
    least = "" if near["all_compared"] else "at least "
    lines = [_entry("similar texts", f"{least}{near['rows']:,} rows have nearly the text of another row")]
    return lines + [" " * INDENT + _shortened(text, WIDTH - INDENT) for text in near["example"]]
