"""What Unicode knows of letters, as labels of several tasks."""

import collections
import unicodedata
from typing import NamedTuple

import numpy as np

from keras_transfer.datasets.glyphs import SCRIPTS, script_of


class Attribute(NamedTuple):
    """One attribute of letters.

    Args:
        labels: int32 (n,), places among `names`; -1 where the letter has none of them.
        names: tuple of str, the classes.
    """

    labels: np.ndarray
    names: tuple


def letter_attributes(letters, least=4, class_names=None):
    """Reads the script, the case, the base letter and the diacritic of letters from their Unicode names.

    "LATIN SMALL LETTER U WITH DIAERESIS AND CARON" is latin, lower, its base is "latin u" and its first diacritic
    "diaeresis".

    Args:
        letters: Letters, as a string or list, such as `script_letters()`.
        least: How many of the letters a base or a diacritic needs to be a class; the others' label is -1.
        class_names: Dict of `"base"`, `"diacritic"` or both to their classes, the `names` of another call: so that the
            letters of a test are numbered as those of the training. By default they follow from the letters.

    Returns:
        Dict of `"script"` (one of `SCRIPTS`), `"case"` (lower, upper, neither), `"base"` and `"diacritic"` (`"none"`,
        then those that there are) to `Attribute`s.

    Raises:
        ValueError: If one is no letter, or `class_names` has another attribute or one name twice.

    Example:
    >>> letter_attributes("aÄ", least=1)["diacritic"].names
    ('none', 'diaeresis')
    """
    letters = list(letters)
    wrong = [letter for letter in letters if not (len(letter) == 1 and letter.isalpha())]
    if wrong or not letters:
        raise ValueError(f"Expected letters; received {wrong or 'none'}.")
    names = [unicodedata.name(letter).lower().split(" with ") for letter in letters]
    values = {
        "script": [script_of(letter) for letter in letters],
        "case": [case_of(letter) for letter in letters],
        "base": [base_of(name[0]) for name in names],
        "diacritic": [name[1].split(" and ")[0] if len(name) > 1 else "none" for name in names],
    }
    classes = {"script": SCRIPTS, "case": ("lower", "upper", "neither")}
    for attribute, first in (("base", ()), ("diacritic", ("none",))):
        counts = collections.Counter(values[attribute])
        classes[attribute] = (*first, *sorted(v for v, n in counts.items() if n >= least and v not in first))
    for attribute, names in (class_names or {}).items():
        if attribute not in ("base", "diacritic") or len(set(names)) < len(names):
            raise ValueError(
                f"Expected `class_names` of 'base' and 'diacritic', each name once; received {names} for {attribute!r}."
            )
        classes[attribute] = tuple(names)
    return {
        attribute: Attribute(np.array([_place(v, classes[attribute]) for v in found], np.int32), classes[attribute])
        for attribute, found in values.items()
    }


def case_of(letter):
    """Returns "lower", "upper" or "neither"."""
    return {"Ll": "lower", "Lu": "upper"}.get(unicodedata.category(letter), "neither")


def base_of(name):
    """Returns a letter's name without the word of its case: "latin small letter u" is "latin u"."""
    words = [word for word in name.split() if word not in ("small", "capital", "letter")]
    return " ".join(words)


def _place(value, classes):
    return classes.index(value) if value in classes else -1
