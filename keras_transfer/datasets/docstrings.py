"""Sentences that every installation has: what functions of its packages say of themselves, by package."""

import importlib.util
import pathlib
import re
import sysconfig

import numpy as np

DOCSTRING_CLASSES = ("keras", "numpy", "python", "tensorflow")
_LEFT_OUT = (
    "test",
    "tests",
    "testing",
    "_testing",
    "site-packages",
    "dist-packages",
    "idlelib",
    "lib2to3",
    "turtledemo",
)
_DOCSTRING = re.compile(r':[ \t]*\n[ \t]+[rRuU]?"""(.+?)"""', re.DOTALL)  # behind the line that ends in a colon
_NAMES = re.compile(r"keras|numpy|python|tensorflow|\btf\b|\bnp\b", re.IGNORECASE)


def docstrings(least_words=5):
    """Collects the first sentence of each docstring in Keras, NumPy, TensorFlow and Python's standard library.

    Files are read, not run. A sentence counts once; one that stands in two packages, or names one of them, is left out:
    the task is to tell from what a sentence says which package it is of. How many there are depends on what is
    installed, some 12,000.

    Args:
        least_words: int, words that a sentence has at least.

    Returns:
        Tuple of strings (n,), dtype object, in their order, and labels, int32 (n,), places in `DOCSTRING_CLASSES`.
    """
    found = {}
    for label, name in enumerate(DOCSTRING_CLASSES):
        for path in _files(name):
            for sentence in _sentences(path):
                if len(sentence.split()) >= least_words and not _NAMES.search(sentence):
                    found.setdefault(sentence, set()).add(label)
    rows = sorted((sentence, labels.pop()) for sentence, labels in found.items() if len(labels) == 1)
    return np.array([sentence for sentence, _ in rows], object), np.array([label for _, label in rows], "int32")


def _files(name):
    if name == "python":
        folder = pathlib.Path(sysconfig.get_path("stdlib"))
    else:
        folder = pathlib.Path(importlib.util.find_spec(name).submodule_search_locations[0])
    paths = sorted(folder.rglob("*.py"))
    return [
        path
        for path in paths
        if not set(path.relative_to(folder).parts[:-1]) & set(_LEFT_OUT) and not path.name.startswith("test_")
    ]


def _sentences(path):
    for match in _DOCSTRING.finditer(path.read_text(encoding="utf-8", errors="replace")):
        text = " ".join(match[1].strip().split("\n\n")[0].split())
        first = re.split(r"(?<=[.!?]) ", text)[0]
        if 20 <= len(first) <= 200 and first.isascii() and first[0].isalpha():
            yield first
