"""TREC: questions, and what kind of answer each asks for, in coarse and in fine classes."""

from typing import NamedTuple

import numpy as np

from keras_transfer.datasets.files import check_split, fetch

_URL = "https://cogcomp.seas.upenn.edu/Data/QA/QC/"
_QUESTIONS = {"train": 5452, "test": 500}
_ORIGINAL = {"train": "train_5500.label", "test": "TREC_10.label"}
TREC_FINE = tuple(
    f"{coarse}:{fine}"
    for coarse, names in {
        "ABBR": "abb exp",
        "DESC": "def desc manner reason",
        "ENTY": "animal body color cremat currency dismed event food instru lang letter other plant product religion "
        "sport substance symbol techmeth termeq veh word",
        "HUM": "desc gr ind title",
        "LOC": "city country mount other state",
        "NUM": "code count date dist money ord other perc period speed temp volsize weight",
    }.items()
    for fine in names.split()
)
TREC_COARSE = tuple(dict.fromkeys(name.split(":")[0] for name in TREC_FINE))


class Trec(NamedTuple):
    """Questions and their classes.

    Args:
        questions: strings (n,), words and marks apart, such as "Who invented Trivial Pursuit ?".
        coarse: int32 (n,), 0-5, places in `TREC_COARSE`.
        fine: int32 (n,), 0-49, places in `TREC_FINE`.
    """

    questions: np.ndarray
    coarse: np.ndarray
    fine: np.ndarray


def trec(split="train"):
    """Loads TREC: 5,452 train and 500 test questions in English, each with a coarse and a fine class.

    Reads `TREC.train` or `TREC.test` from `$KERAS_TRANSFER_DATA/sentences`, or downloads it once (340 kB).

    Args:
        split: `"train"` or `"test"`.

    Returns:
        A `Trec` of questions and labels. A fine class belongs to one coarse class.

    Raises:
        ValueError: If the split is unknown, or a line is not of the file's form.

    Reference: X. Li, D. Roth, "Learning Question Classifiers", COLING 2002.
    """
    check_split(split)
    path = fetch(f"TREC.{split}", "sentences", _URL + _ORIGINAL[split], None, lambda path: _complete(path, split))
    questions, fine = _read(path)
    coarse_of = [TREC_COARSE.index(name.split(":")[0]) for name in TREC_FINE]
    fine = np.array(fine, np.int32)
    return Trec(np.array(questions), np.array(coarse_of, np.int32)[fine], fine)


def _complete(path, split):
    """Raises a ValueError unless a file holds all questions of a split: no checksum is published."""
    found = len(_read(path)[0])
    if found != _QUESTIONS[split]:
        raise ValueError(f"Expected {_QUESTIONS[split]} questions; received {found}.")
    if not path.read_bytes().endswith(b"\n"):
        raise ValueError("Expected a whole last line; received one that is cut off.")


def _read(path):
    """Returns the lists of questions and of fine classes in a file."""
    questions, fine = [], []
    for number, line in enumerate(path.read_text("latin-1").splitlines(), 1):
        name, _, question = line.partition(" ")
        if name not in TREC_FINE or not question.strip():
            raise ValueError(
                f"Expected a fine class and a question in line {number} of {path}; received {line[:60]!r}."
            )
        questions.append(question.strip())
        fine.append(TREC_FINE.index(name))
    if not fine:
        raise ValueError(f"Expected lines of a fine class and a question in {path}; received none.")
    return questions, fine
