"""Texts and their labels: those of a data set, or your own, read and checked before anything trains."""

import numpy as np

import keras_transfer as kt

CLASSES = {
    "docstrings": kt.datasets.DOCSTRING_CLASSES,
    "trec": kt.datasets.TREC_COARSE,
    "sst2": kt.datasets.SST_CLASSES[2],
    "emotion": kt.datasets.TWEET_CLASSES["emotion"],
}
DATA = tuple(CLASSES)


def load(name, csv=None, text="text", label="label"):
    """Returns `{"train": (texts, labels), "test": (texts, labels)}` and the names of the classes.

    A text that stands in both is taken out of the test, and counted in what is printed; of data without a test split a
    fifth tests.

    Args:
        name: one of `DATA`.
        csv: path of a CSV file in place of that, or None.
        text: name of its column of texts.
        label: name of its column of labels.

    Raises:
        ValueError: if the file lacks a column, a text is empty, there is one class, or one has fewer than 5 texts.
    """
    if csv is not None:
        (x, y), classes = _own(csv, text, label)
        parts = _halves(x, y)
    else:
        classes = CLASSES[name]
        parts = (
            _halves(*kt.datasets.docstrings())
            if name == "docstrings"
            else {s: _read(name, s) for s in ("train", "test")}
        )
    known = {_plain(one) for one in parts["train"][0]}
    x, y = parts["test"]
    new = np.array([_plain(one) not in known for one in x])
    if not new.all():
        print(f"{(~new).sum()} of {len(new)} texts of the test are among those to train on, and left out.", flush=True)
    return {**parts, "test": (x[new], y[new])}, tuple(classes)


def _read(name, split):
    if name == "trec":
        found = kt.datasets.trec(split)
        return found.questions.astype(object), found.coarse
    return kt.datasets.sst(split) if name == "sst2" else kt.datasets.tweet_eval(name, split)


def _own(csv, text, label):
    columns = kt.datasets.read_columns(csv, (text, label))
    empty = [line for line, one in enumerate(columns[text], 2) if not one]
    lacking = [line for line, one in enumerate(columns[label], 2) if not one]
    if empty or lacking:
        kind, lines = ("text", empty) if empty else ("label", lacking)
        raise ValueError(
            f"Expected a {kind} in each row of {csv}; received none in {len(lines)}, first in row {lines[0]}."
        )
    classes, y = np.unique(columns[label], return_inverse=True)
    counts = np.bincount(y)
    if len(classes) < 2 or counts.min() < 5:
        raise ValueError(
            f"Expected at least two classes in the column {label!r} of {csv}, and 5 texts of each; received "
            f"{dict(zip(classes.tolist(), counts.tolist()))}."
        )
    return (np.array(columns[text], object), y.astype("int32")), classes.tolist()


def _halves(x, y):
    order = np.random.default_rng(0).permutation(len(y))
    fifth = len(order) // 5
    return {"train": (x[order[fifth:]], y[order[fifth:]]), "test": (x[order[:fifth]], y[order[:fifth]])}


def _plain(text):
    return " ".join(str(text).lower().split())
