"""Which of your own pictures train, and which test: each class on both sides, groups whole."""

import pathlib

import numpy as np

SHOWN = 5  # files or classes that a message names


def split(files, share):
    """Returns which pictures test, bool (n,): a share of each class, groups kept whole.

    Args:
        files: `kt.datasets.ImageFiles` with labels.
        share: float, above 0 and at most .5.

    Raises:
        ValueError: if no split has each class on both sides.
    """
    from sklearn.model_selection import StratifiedGroupKFold, train_test_split

    if not 0 < share <= 0.5:
        raise ValueError(f"Expected --test-share above 0 and at most .5; received {share}.")
    tests, places = np.zeros(len(files), bool), np.arange(len(files))
    if files.groups is None:
        for label in np.unique(files.labels):
            rows = places[files.labels == label]
            number = max(1, round(share * len(rows)))
            tests[train_test_split(rows, test_size=number, random_state=0)[1]] = True
        return tests
    groups = [len(set(files.groups[files.labels == label])) for label in range(len(files.class_names))]
    alone = [name for name, number in zip(files.class_names, groups) if number < 2]
    if alone:
        raise ValueError(
            f"Expected at least 2 groups of each class, one to train and one to test; received one of {some(alone)}."
        )
    folds = StratifiedGroupKFold(min(round(1 / share), *groups), shuffle=True, random_state=0)
    for _, fold in folds.split(places, files.labels, files.groups):
        tests = np.isin(places, fold)
        if not _lacking(files, tests):
            return tests
    raise ValueError(
        "Expected a split with whole groups and each class on both sides; found none. Name the pictures that test with "
        "--test, or lower --test-share."
    )


def listed(file, files, root):
    """Returns the places of the pictures that a text file names.

    Args:
        file: path of the text file, one path in a line, from `root` or absolute.
        files: `kt.datasets.ImageFiles`.
        root: folder from which the paths start.

    Raises:
        ValueError: if it is no text file, names no picture, or one that is not among the files.
    """
    if not pathlib.Path(file).is_file():
        raise ValueError(f"Expected --test to be a text file of paths; received {file}, which is no file.")
    lines = [line.strip() for line in pathlib.Path(file).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    places = {path.resolve(): place for place, path in enumerate(files.paths)}
    found = {line: places.get((pathlib.Path(root) / line).resolve()) for line in lines}
    lost = [line for line, place in found.items() if place is None]
    if lost or not found:
        told = f"{len(lost)} of {len(found)} that are none: {some(lost)}" if lost else "no lines"
        raise ValueError(f"Expected {file} to name labelled pictures, with paths from {root}; received {told}.")
    return sorted(found.values())


def check_sides(files, tests):
    """Raises an error where a side lacks a class, or a group is on both.

    Args:
        files: `kt.datasets.ImageFiles` with labels.
        tests: bool (n,), which test.
    """
    lacking = _lacking(files, tests)
    if lacking:
        raise ValueError(f"Expected pictures of each class that train and that test; received none for {lacking}.")
    if files.groups is not None:
        across = sorted(set(files.groups[tests]) & set(files.groups[~tests]))
        if across:
            raise ValueError(
                f"Expected whole groups among the pictures that test; received {len(across)} groups that train too: "
                f"{some(across)}."
            )


def _lacking(files, tests):
    """Says which classes a side lacks."""
    told = []
    for side, name in ((tests, "the test"), (~tests, "training")):
        there = set(files.labels[side].tolist())
        lacks = [class_name for label, class_name in enumerate(files.class_names) if label not in there]
        told += [f"{name}: {some(lacks)}"] if lacks else []
    return "; ".join(told)


def some(values):
    """Returns the first of several values as words, and how many more there are."""
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(map(str, values[:SHOWN])) + more
