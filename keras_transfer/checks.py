"""One gate for the numbers and words that constructors take: what was expected, and what was received."""

import math
import numbers
import reprlib

import keras
import numpy as np
from keras import ops

_LATE = 10**9  # a step after every ramp


def check_number(value, name, least=None, above=None, most=None, below=None):
    """Checks a finite number and its range.

    Args:
        value: what was passed.
        name: name of the argument.
        least: the least value that is allowed, or None.
        above: the value that it has to lie above, or None.
        most: the largest value that is allowed, or None.
        below: the value that it has to lie below, or None.

    Returns:
        The number; one of NumPy's as one of Python's, which a config can hold.

    Raises:
        ValueError: if it is no number (a bool and an array are none), not finite or out of range.
    """
    if not _is(value, numbers.Real) or not _in_range(value, least, above, most, below):
        expected = f"a finite number{_range(least, above, most, below)}"
        raise ValueError(f"Expected `{name}` to be {expected}; received {received(value)}.")
    return value.item() if isinstance(value, np.generic) else value


def check_integer(value, name, least=1):
    """Checks an integer of at least `least`.

    Args:
        value: what was passed.
        name: name of the argument.
        least: int.

    Returns:
        The integer; one of NumPy's as one of Python's.

    Raises:
        ValueError: if it is none (a bool, and a float such as 2.0, are none) or less.
    """
    if not _is(value, numbers.Integral) or value < least:
        raise ValueError(f"Expected `{name}` to be an int of at least {least}; received {received(value)}.")
    return int(value)


def check_weight(value, name, most=None):
    """Checks a weight or strength: a number of at least 0, or a schedule of the training step.

    A schedule is asked for its values at step 0 and after a billion steps.

    Args:
        value: what was passed.
        name: name of the argument.
        most: the largest value that is allowed, or None.

    Returns:
        The number, as `check_number` does, or the schedule.

    Raises:
        ValueError: if it is neither, or out of range.
    """
    if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
        for step in (0, _LATE):
            now = float(ops.convert_to_numpy(value(ops.convert_to_tensor(step, "int32"))))
            if math.isnan(now) or now < 0 or most is not None and now > most:
                raise ValueError(
                    f"Expected `{name}` to be a schedule of values{_range(0, most=most)}; received a "
                    f"{type(value).__name__} that is {now:g} at step {step:,}."
                )
        return value
    if not _is(value, numbers.Real) or not _in_range(value, 0, None, most, None):
        raise ValueError(
            f"Expected `{name}` to be a finite number{_range(0, most=most)}, or a schedule of such, "
            f"`keras.optimizers.schedules.LearningRateSchedule`; received {received(value)}."
        )
    return value.item() if isinstance(value, np.generic) else value


def check_flag(value, name):
    """Checks a bool and returns it; the string "False" is true in Python, and would be taken for yes.

    Args:
        value: what was passed.
        name: name of the argument.

    Raises:
        ValueError: if it is no bool.
    """
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"Expected `{name}` to be True or False; received {received(value)}.")
    return bool(value)


def check_choice(value, name, choices):
    """Checks one word of several and returns it.

    Args:
        value: what was passed.
        name: name of the argument.
        choices: tuple of at least 2 words.

    Raises:
        ValueError: if it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        *first, last = (f'"{choice}"' for choice in choices)
        raise ValueError(f"Expected `{name}` to be {', '.join(first)} or {last}; received {received(value)}.")
    return value


def check_span(pair, name, most=None):
    """Checks a pair of finite numbers with 0 < least <= largest.

    Args:
        pair: what was passed.
        name: name of the argument.
        most: the largest value that is allowed, or None.

    Returns:
        The pair as a tuple.

    Raises:
        ValueError: if it is none.
    """
    two = isinstance(pair, tuple | list) and len(pair) == 2 and all(_is(value, numbers.Real) for value in pair)
    if not two or not all(_in_range(value, None, 0, most, None) for value in pair) or pair[0] > pair[1]:
        end = "" if most is None else f" <= {most}"
        raise ValueError(
            f"Expected `{name}` to be a pair of finite numbers with 0 < least <= largest{end}; received "
            f"{received(pair)}."
        )
    return tuple(value.item() if isinstance(value, np.generic) else value for value in pair)


def check_tasks(tasks, classes=None):
    """Checks the classes of tasks, and returns them as a list of lists.

    Args:
        tasks: list over the tasks of lists of their classes.
        classes: int, the number of classes, or None.

    Raises:
        ValueError: if a task has no class, a class is no whole number, outside the classes, or in two tasks.
    """
    whole = isinstance(tasks, list | tuple) and all(isinstance(one, list | tuple | range | np.ndarray) for one in tasks)
    if not whole or not len(tasks) or not all(map(len, tasks)):
        raise ValueError(
            f"Expected `tasks` to be a list of lists of classes, one for each task; received {received(tasks)}."
        )
    found = [[int(label) for label in one] for one in tasks]
    every = sorted(label for one in found for label in one)
    if len(set(every)) < len(every):
        twice = sorted({label for label in every if every.count(label) > 1})
        raise ValueError(f"Expected each class in one task; received {twice} in several: a label has one meaning.")
    if every[0] < 0 or (classes is not None and every[-1] >= classes):
        end = "" if classes is None else f" to {classes - 1}"
        raise ValueError(f"Expected classes from 0{end} in `tasks`; received {every[0]} to {every[-1]}.")
    return found


def check_cast(values, dtype, name):
    """Returns an array in another dtype, after a check that one of whole numbers holds its values.

    Args:
        values: array of numbers.
        dtype: str.
        name: str, what an error calls the array.

    Raises:
        ValueError: if whole numbers would be made of fractions, or of values that are out of range.
    """
    cast = values.astype(dtype)
    if not is_float(cast) and (cast != values).any():
        raise ValueError(
            f"Expected `{name}` of values that {dtype} holds; received {values.dtype} from {values.min():g} to "
            f"{values.max():g}, which would be changed."
        )
    return cast


def check_rows(first, second, names, axes=1):
    """Raises an error unless two batches that go through one network have one structure, and rows of one shape.

    Args:
        first: array or nested structure of arrays.
        second: the same.
        names: pair of str, what an error calls them.
        axes: int, the first axes, which may differ.

    Raises:
        ValueError: if they have not.
    """
    shapes = [[tuple(part.shape[axes:]) for part in keras.tree.flatten(batch)] for batch in (first, second)]
    if len(shapes[0]) != len(shapes[1]) or not all(map(same_shape, *shapes)):
        found = [one[0] if len(one) == 1 else one for one in shapes]
        raise ValueError(
            f"Expected `{names[0]}` and `{names[1]}` with rows of one shape; received {found[0]} and {found[1]}."
        )


def same_shape(first, second):
    """Returns whether two shapes are equal, as far as they are known."""
    return len(first) == len(second) and all(a is None or b is None or a == b for a, b in zip(first, second))


def is_float(value):
    """Returns whether an array, tensor or variable holds floats of any precision."""
    return "float" in getattr(value.dtype, "name", str(value.dtype))


def check_finite(arrays, name):
    """Raises an error for arrays of NumPy's with floats that are NaN or infinite.

    Args:
        arrays: array, or a nested structure of arrays; any but floats pass.
        name: str, what an error calls them.

    Raises:
        ValueError: as said above.
    """
    for array in keras.tree.flatten(arrays):
        if is_float(array) and not np.isfinite(array).all():
            bad = array.size - np.isfinite(array).sum()
            raise ValueError(f"Expected finite values in `{name}`; received {bad} that are NaN or infinite.")


def received(value):
    """Returns what was received in words: a number or text as it is, otherwise its kind too, and not at length."""
    text = reprlib.repr(value)
    plain = value is None or isinstance(value, str | tuple | list | numbers.Number | np.bool_)
    return text if plain and not isinstance(value, np.generic) else f"{text} ({type(value).__name__})"


def _is(value, kind):
    return isinstance(value, kind) and not isinstance(value, bool)


def _in_range(value, least, above, most, below):
    if not math.isfinite(value):
        return False
    low = (least is None or value >= least) and (above is None or value > above)
    return low and (most is None or value <= most) and (below is None or value < below)


def _range(least=None, above=None, most=None, below=None):
    bounds = [
        f"{word} {bound}"
        for word, bound in (("of at least", least), ("above", above), ("at most", most), ("below", below))
        if bound is not None
    ]
    return f" {' and '.join(bounds)}" if bounds else ""
