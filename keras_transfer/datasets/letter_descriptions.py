"""What Unicode says of letters, as attributes and as names: classes that are told without an example."""

import unicodedata
from typing import NamedTuple

import numpy as np

from keras_transfer.datasets.glyphs import script_of
from keras_transfer.datasets.letter_attributes import base_of, case_of


class LetterDescriptions(NamedTuple):
    """What is known of letters, none of them as another.

    Args:
        letters: tuple of str (n,), those whose attributes no other has.
        attributes: float32 (n, attributes), 1.0 where the letter has it.
        attribute_names: tuple of str, such as `"script latin"`, `"case lower"`, `"base latin a"`, `"with diaeresis"`.
        names: tuple of str (n,), such as "latin small letter a with diaeresis".
        diacritic: bool (n,), whether the letter has any.
    """

    letters: tuple
    attributes: np.ndarray
    attribute_names: tuple
    names: tuple
    diacritic: np.ndarray


def letter_descriptions(letters):
    """Reads the attributes of letters from their Unicode names: script, case, base letter and all diacritics.

    Letters that have the same attributes as another cannot be told by them: all such are left out.

    Args:
        letters: Letters, as a string or list, such as `script_letters()`.

    Returns:
        A `LetterDescriptions`.

    Raises:
        ValueError: If one is no letter, or there are none.

    Example:
    >>> letter_descriptions("aäo").names[1]
    'latin small letter a with diaeresis'
    """
    letters = list(letters)
    wrong = [letter for letter in letters if not (len(letter) == 1 and letter.isalpha())]
    if wrong or not letters:
        raise ValueError(f"Expected letters; received {wrong or 'none'}.")
    names = [unicodedata.name(letter).lower() for letter in letters]
    has = []
    for letter, name in zip(letters, names):
        base, _, diacritics = name.partition(" with ")
        marks = [f"with {mark}" for mark in diacritics.split(" and ") if mark]
        has.append({f"script {script_of(letter)}", f"case {case_of(letter)}", f"base {base_of(base)}", *marks})
    same = [has.count(one) > 1 for one in has]
    kept = [i for i, twice in enumerate(same) if not twice]
    known = sorted({attribute for i in kept for attribute in has[i]})
    place = {attribute: i for i, attribute in enumerate(known)}
    table = np.zeros((len(kept), len(known)), "float32")
    for row, i in enumerate(kept):
        table[row, [place[attribute] for attribute in has[i]]] = 1.0
    return LetterDescriptions(
        tuple(letters[i] for i in kept),
        table,
        tuple(known),
        tuple(names[i] for i in kept),
        np.array([" with " in names[i] for i in kept]),
    )
