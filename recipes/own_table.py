"""Your own table: the columns of a CSV file as inputs and labels of tasks, checked before anything trains."""

import pathlib
from typing import NamedTuple

import numpy as np

import keras_transfer as kt
from keras_transfer.recipes import picture_split

MISSING = ("", "?", "na", "n/a", "nan", "null", "none")  # cells that say nothing, in small letters
FEW = 20  # different whole numbers that are still taken for classes
SHARE = 0.9  # of cells that are numbers, from which on the others are taken for mistakes
ALIKE = 0.99999  # correlation, from which on a column is taken for the task itself


class Table(NamedTuple):
    """The rows of a table.

    Args:
        inputs: `{column: array (rows,)}`: numbers as float32, NaN where one is missing; names as strings, "" where one
            is missing.
        images: `kt.datasets.ImageFiles` of the rows, or None.
        labels: `{task: array (rows,)}`: numbers of classes as int32, -1 where one is missing; values of a regression
            as float32, NaN where one is missing.
        classes: `{task: tuple of class names}` of the tasks that are classifications.
        groups: array of str (rows,), or None.
    """

    inputs: dict
    images: kt.datasets.ImageFiles | None
    labels: dict
    classes: dict
    groups: np.ndarray | None

    def subset(self, places):
        """Returns some of the rows."""
        inputs, labels = ({name: array[places] for name, array in part.items()} for part in (self.inputs, self.labels))
        images = None if self.images is None else self.images.subset(places)
        return Table(inputs, images, labels, self.classes, None if self.groups is None else self.groups[places])


def load(
    csv,
    tasks,
    regression=(),
    categories=(),
    leave_out=(),
    image_column=None,
    image_size=64,
    group_column=None,
):
    """Reads a CSV file, and says what each column is taken for and which are left out.

    Args:
        csv: path of the file, UTF-8; its first line names the columns.
        tasks: names of the columns to predict. Strings, and at most 20 different whole numbers, are classes; all other
            numbers are values of a regression.
        regression: names of the tasks that are regressions all the same.
        categories: names of the columns of numbers that are names, such as postcodes.
        leave_out: names of the columns that are no inputs.
        image_column: name of the column of paths of pictures, from the file's folder; None for none.
        image_size: side of the pictures in pixels.
        group_column: name of the column that says which rows belong together; it is no input.

    Returns:
        `Table`.

    Raises:
        ValueError: if columns are not there (named, with those that are), a task is constant, an identifier or told by
            an input, a column mixes numbers and words, or no input is left.
    """
    special = [name for name in (image_column, group_column) if name is not None]
    for name in regression:
        if name not in tasks:
            raise ValueError(f"Expected --regression to name some of the tasks {tuple(tasks)}; received {name!r}.")
    for name in special:
        if name in tasks:
            raise ValueError(f"Expected tasks that are no column of pictures or groups; received {name!r}.")
    named = dict.fromkeys([*tasks, *categories, *leave_out, *special])
    columns = kt.datasets.read_columns(csv, named)
    columns = {name: ["" if cell.lower() in MISSING else cell for cell in cells] for name, cells in columns.items()}
    labels, classes = {}, {}
    for task in tasks:
        labels[task], names = _labels(task, columns[task], task in regression, task in categories)
        if names is not None:
            classes[task] = names
    inputs = {}
    for name in columns:
        if name not in (*tasks, *leave_out, *special):
            column = _column(name, columns[name], name in categories)
            fault = _fault(name, column)
            if fault:
                print(f"Warning: the column {name!r} is {fault}, and left out.")
                continue
            for task in tasks:
                _check_leak(name, column, task, labels[task])
            inputs[name] = column
    images = None
    if image_column is not None:
        images = kt.datasets.image_table(csv, image_size, image_column, None)
    elif not inputs:
        raise ValueError(f"Expected columns beside the tasks in {csv}; received none that tell anything.")
    groups = None
    if group_column is not None:
        groups = np.array(columns[group_column])
        _check_groups(group_column, groups)
    print(_told(inputs, images, labels, classes), flush=True)
    return Table(inputs, images, labels, classes, groups)


def split(table, share, seed=0):
    """Returns the places of the rows that train and of those that test: groups whole, shares of the first classes.

    Args:
        table: `Table`.
        share: float, of the rows that test.
        seed: int.
    """
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    places = np.arange(len(next(iter(table.labels.values()))))
    if table.groups is not None:
        (sides,) = GroupShuffleSplit(1, test_size=share, random_state=seed).split(places, groups=table.groups)
        return sides
    first = next((table.labels[task] for task in table.classes), None)
    if first is not None:
        number = int(np.ceil(share * len(places)))
        _, counts = np.unique(first, return_counts=True)
        first = first if counts.min() >= 2 and len(counts) <= min(number, len(places) - number) else None
    return tuple(np.sort(side) for side in train_test_split(places, test_size=share, random_state=seed, stratify=first))


# What a column is.


def _column(name, cells, named=False):
    """Returns a column as numbers, float32, or as names, strings."""
    there = [cell for cell in cells if cell]
    numbers = [cell for cell in there if _is_number(cell)]
    if named or not numbers or len(numbers) < SHARE * len(there):
        return np.array(cells, dtype=object)
    if len(numbers) < len(there):
        odd = sorted({cell for cell in there if not _is_number(cell)})
        raise ValueError(
            f"Expected numbers in the column {name!r}, as {len(numbers)} of its {len(there)} cells are; received "
            f"{picture_split.some(odd)}. Mend these cells, leave them empty, or name the column in --categories."
        )
    return np.array([float(cell) if cell else np.nan for cell in cells], np.float32)


def _is_number(cell):
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def _labels(task, cells, regression, named):
    """Returns the labels of a task, and the names of its classes or None."""
    column = _column(task, cells, named)
    present, names = _present(column), column.dtype == object
    values = sorted(set(column[present].tolist()))
    if len(values) < 2:
        raise ValueError(f"Expected at least two different labels of the task {task!r}; received {values}.")
    if names and regression:
        raise ValueError(f"Expected numbers for the regression of {task!r}; received names such as {values[0]!r}.")
    whole = names or all(value == int(value) for value in values)
    if names or (whole and len(values) <= FEW and not regression):
        number = {value: place for place, value in enumerate(values)}
        counts = {value: int((column == value).sum()) for value in values}
        if len(values) > max(2, 0.5 * present.sum()):
            raise ValueError(
                f"Expected classes of the task {task!r}; received an identifier: {len(values)} different values in "
                f"{present.sum()} rows."
            )
        rare = [value for value in values if counts[value] < 2]
        if rare:
            raise ValueError(
                f"Expected at least 2 rows of each class of the task {task!r}, one to train and one to test; received "
                f"one of {picture_split.some(rare)}. Join classes, or leave these cells empty."
            )
        labels = [number[value] if there else -1 for value, there in zip(column.tolist(), present)]
        return np.array(labels, np.int32), tuple(value if names else f"{value:g}" for value in values)
    return column, None


def _present(column):
    return column != "" if column.dtype == object else ~np.isnan(column)


def _fault(name, column):
    """Says why a column is no input; None if it is one."""
    present = _present(column)
    values, several = set(column[present].tolist()), present.sum()
    if not several:
        return "empty"
    if len(values) == 1 and several == len(column):
        return f"constant ({next(iter(values))})"
    if column.dtype == object and len(values) > 0.5 * several > 1:
        return f"an identifier ({len(values)} different values in {several} rows)"
    if column.dtype == object and any("\n" in value or "\r" in value for value in values):
        return "of texts with line breaks"  # which the vocabulary of a `.keras` file cannot hold
    numbered = column.dtype != object and len(values) == len(column) and np.ptp(column) == len(column) - 1
    if numbered and (np.diff(column) == 1).all():
        return "a number of the row"
    return None


def _check_leak(name, column, task, labels):
    """Raises an error for an input that tells the task in every row."""
    classes = labels.dtype == np.int32
    both = _present(column) & ((labels >= 0) if classes else ~np.isnan(labels))
    x, y = column[both], labels[both]
    told = False
    if not classes and x.dtype != object and len(x) > 2 and np.ptp(x) and np.ptp(y):
        told = abs(np.corrcoef(x.astype("float64"), y.astype("float64"))[0, 1]) > ALIKE
    elif classes and len(x):
        values = set(x.tolist())
        several = len(set(y.tolist())) <= len(values) <= max(2 * len(set(y.tolist())), len(x) // 20)
        told = several and len(set(zip(x.tolist(), y.tolist()))) == len(values)
    if told:
        raise ValueError(
            f"Expected inputs that do not know the task {task!r}; received the column {name!r}, which tells it in all "
            f"of {len(x)} rows. Where it is known before the answer is, the task needs no model; otherwise name it in "
            "--leave-out."
        )


def _check_groups(name, groups):
    several = len(set(groups.tolist()))
    if several in (1, len(groups)):
        told = "keeps all of them together" if several == 1 else "keeps none of them together"
        raise ValueError(
            f"Expected groups in the column {name!r}; received {several} different value(s) in {len(groups)} rows, "
            f"which {told}."
        )


def _told(inputs, images, labels, classes):
    """Returns the lines on what was found."""
    rows = len(next(iter(labels.values())))
    numbers = [name for name, column in inputs.items() if column.dtype != object]
    lines = [f"{rows} rows; {len(numbers)} columns of numbers, {len(inputs) - len(numbers)} of names"]
    lines[0] += "" if images is None else ", and pictures"
    gaps = {name: int((~_present(column)).sum()) for name, column in inputs.items()}
    if any(gaps.values()):
        lines.append(f"Missing cells: {', '.join(f'{name} {number}' for name, number in gaps.items() if number)}")
    for task, values in labels.items():
        if task in classes:
            counts = np.bincount(values[values >= 0], minlength=len(classes[task]))
            order = np.argsort(-counts, kind="stable")
            what = ", ".join(f"{classes[task][place]} {counts[place]}" for place in order[:8])
            what = f"{len(counts)} classes ({what}{', ...' if len(counts) > 8 else ''})"
            lacking = int((values < 0).sum())
        else:
            what = f"a regression from {np.nanmin(values):g} to {np.nanmax(values):g}, mean {np.nanmean(values):g}"
            lacking = int(np.isnan(values).sum())
        lines.append(f"Task {task}: {what}" + (f", {lacking} labels missing" if lacking else ""))
    return "\n".join(lines)


def diabetes(folder):
    """Writes the patients that ship with scikit-learn as a table; the older half, from 51 years on, is the target.

    Returns:
        The path, and the names of the task, of the column of origins, and of the target.

    Args:
        folder: path of the folder for it.

    Reference: B. Efron et al., "Least Angle Regression", Annals of Statistics 2004.
    """
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    ages = data.data[:, data.feature_names.index("age")]
    head = [*data.feature_names, "progression", "half"]
    halves = np.where(ages > np.median(ages), "older", "younger")
    rows = [[*map(repr, map(float, row)), repr(float(y)), half] for row, y, half in zip(data.data, data.target, halves)]
    return _written(pathlib.Path(folder) / "diabetes.csv", [head, *rows]), "progression", "half", "older"


def wine(folder):
    """Writes the wines that ship with scikit-learn as a table; returns its path and the tasks.

    Args:
        folder: path of the folder for it.

    Reference: M. Forina et al., "PARVUS", UCI Machine Learning Repository, 1991.
    """
    from sklearn.datasets import load_wine

    data = load_wine()
    head = ["cultivar", *data.feature_names]
    rows = [[f"cultivar {label + 1}", *map(repr, map(float, row))] for label, row in zip(data.target, data.data)]
    path = _written(pathlib.Path(folder) / "wine.csv", [head, *rows])
    return path, ("cultivar", "alcohol", "color_intensity")


def _written(path, rows):
    return kt.report.write_whole(path, ("\n".join(",".join(row) for row in rows) + "\n").encode())
