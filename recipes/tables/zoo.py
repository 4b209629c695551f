"""The table of the zoo: every model with what it is for, how good it is and what a full run reaches, from the cards."""

import functools
import json

import keras_transfer as kt


def zoo(results):
    """Yields the lines of the table.

    Args:
        results: pathlib.Path of the folder of results.
    """
    yield "| name | what for | measured | full run | signatures | MB |"
    yield "|---|---|---|---|---|---|"
    for name in kt.zoo.names():
        card = kt.zoo.card(name)
        first, signatures = card["metrics"][0], ", ".join(f"`{one}`" for one in card["inputs"])
        measured = f"{first['name']}: {number(first)}"
        full = "; ".join(f"{one['what']}: {recorded(results, one, first['unit'])}" for one in card["records"])
        link = f"[`{name}`](../saved_models/{name}/README.md)"
        yield f"| {link} | {card['what_for']} | {measured} | {full} | {signatures} | {megabytes(card):.1f} |"


def megabytes(card):
    """Returns the size of a model's files."""
    return sum(about["bytes"] for about in card["files"].values()) / 1e6


def number(metric):
    """Returns a metric of a card with its interval as text."""
    value, low, high = (text(metric[key], metric["unit"]) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def text(value, unit):
    """Returns a number of a card as text: accuracies in %, errors as they are."""
    return f"{100 * value:.1f} %" if unit == "accuracy" else f"{value:.3f}"


def recorded(results, record, unit):
    """Returns the number that a card's record names, as text."""
    return text(found(results, record), unit)


def found(results, record):
    """Returns the number that a card's record names.

    Args:
        results: pathlib.Path of the folder of results.
        record: dict of a `file` there, and a `key` in it with dots between its parts.

    Raises:
        KeyError, IndexError: if it is not there.
    """
    parts = json.loads((results / record["file"]).read_text(encoding="utf-8"))
    return functools.reduce(
        lambda of, key: of[int(key) if isinstance(of, list) else key], record["key"].split("."), parts
    )
