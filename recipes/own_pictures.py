"""Your own pictures, as every recipe reads them: found, checked and split before anything trains."""

import dataclasses
import os
import pathlib
import warnings
from typing import NamedTuple

import keras
import numpy as np

import keras_transfer as kt
from keras_transfer.recipes import picture_split

UNLABELLED = ("unlabelled", "unlabeled")
BATCH = 256  # pictures in memory while they are checked
MANY = 2000  # pictures, from which on reading them takes a while
SHOWN = picture_split.SHOWN


@dataclasses.dataclass(frozen=True)
class Options:
    """Your own pictures, and the backbone that sees them."""

    images: pathlib.Path | None = None
    """Your pictures: a folder with one folder for each class, `<class>/*.jpg`, with pictures that nobody labelled in
    `unlabelled/` beside these where a method uses them; or a CSV file with a column of paths and one of labels."""
    image_column: str = "path"
    """Column of the CSV file that holds the pictures' paths, which start from its folder."""
    label_column: str = "label"
    """Column of the CSV file that holds the classes."""
    group_column: str | None = None
    """Column of the CSV file that says which pictures belong together, such as a patient or a camera: all of a group
    train, or all test."""
    group_by_folder: bool = False
    """Pictures of one folder below a class, `<class>/<group>/*.jpg`, belong together: all train, or all test."""
    test: pathlib.Path | None = None
    """Text file that names the pictures that test, one path in a line, from the folder of `--images`; all others
    train. By default a share of each class, drawn at random, always the same."""
    test_share: float = 0.2
    """Share of the pictures that test, at most .5."""
    image_size: int = 128
    """Side in pixels that pictures are reduced to: the largest centred square of each."""
    skip_unreadable: bool = False
    """Go on without pictures that cannot be read; by default they are listed and nothing trains."""
    backbone: str = "small_cnn"
    """The network from pictures to features: `small_cnn` (untrained), `applications:MobileNetV2` (ImageNet weights,
    which Keras downloads), `hub:<folder or handle>`, `keras_hub:<preset>` or `file:<path>.keras`."""


class Data(NamedTuple):
    """Pictures that train and pictures that test, still on disk.

    Args:
        train: `kt.datasets.ImageFiles` with labels.
        test: the same.
        unlabelled: `kt.datasets.ImageFiles` without labels, or None.
        class_names: tuple of str.
    """

    train: kt.datasets.ImageFiles
    test: kt.datasets.ImageFiles
    unlabelled: kt.datasets.ImageFiles | None
    class_names: tuple[str, ...]


def load(options):
    """Finds, checks and splits the pictures, says what there is, and returns it; thumbnails alone stay in memory.

    The same pictures are split in the same way each time. Near duplicates across the split are warned of.

    Args:
        options: `Options` with `images`.

    Returns:
        `Data`.

    Raises:
        ValueError: if there is no such folder or file, fewer than two classes, a class with one picture, a picture that
            cannot be read, or labels, groups or tests that split nothing.
    """
    files, root = find(options)
    check_classes(files)
    tests = _tests(files, options, root)  # before all is read: what splits nothing is told at once
    more = _unlabelled(options)
    files, thumbnails, kept = readable(files, options.skip_unreadable)
    check_classes(files)
    tests = tests[kept] if options.test is not None or len(kept) == len(tests) else _tests(files, options, root)
    picture_split.check_sides(files, tests)
    train, test = files.subset(~tests), files.subset(tests)
    print(describe(train, test, more), flush=True)
    warn_of_duplicates(train, test, thumbnails[~tests], thumbnails[tests], "trains", "tests")
    if more is not None:
        more, more_thumbnails, _ = readable(more, options.skip_unreadable)
        warn_of_duplicates(more, test, more_thumbnails, thumbnails[tests], "is unlabelled", "tests")
    return Data(train, test, more, files.class_names)


def backbone(options, trainable=True):
    """Returns the backbone of the options, for pictures of their size.

    Args:
        options: `Options`.
        trainable: bool, whether its weights train.
    """
    size = options.image_size
    return kt.backbones.load(options.backbone, (size, size, 3), trainable)


def imagenet_backbone(name, image_size):
    """Returns a backbone that stays as it is: that of a name, or for `small_cnn` one with ImageNet's weights.

    That is EfficientNet-Lite0 where `KERAS_TRANSFER_DATA` has it, whose pixels are scaled to what it was trained on,
    otherwise `applications:EfficientNetB0`.

    Args:
        name: see `kt.backbones.load`.
        image_size: int, the side of the pictures.
    """
    shape = (image_size, image_size, 3)
    file = pathlib.Path(os.environ.get("KERAS_TRANSFER_DATA", ""), "weights/efficientnet_lite0_notop.keras")
    if name != "small_cnn":
        return kt.backbones.load(name, shape, trainable=False)
    if not file.is_file():
        return kt.backbones.load("applications:EfficientNetB0", shape, trainable=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*gets pixels in 0-255 as they are")  # not here
        network = kt.backbones.load(f"file:{file}", shape, trainable=False)
    scaled = keras.layers.Rescaling(1 / 128, -127 / 128)
    return keras.Sequential([keras.Input(shape), scaled, network], name="efficientnet_lite0")


def load_target(options, target):
    """Returns the pictures of another domain, without labels: those of a folder and all below it, whatever its names.

    Args:
        options: `Options`, whose `images` are the labelled pictures of the source.
        target: path of the folder.

    Raises:
        ValueError: if it has no pictures, is the source's folder, in it or around it, or a picture cannot be read.
    """
    check_apart(options, target)
    files = kt.datasets.image_files(target, options.image_size, labelled=False)
    return readable(files, options.skip_unreadable)[0]


def load_target_test(options, target, class_names):
    """Returns the labelled pictures of a target in class folders, for a test after training and for nothing else.

    Args:
        options: `Options`.
        target: path of the folder, `<class>/*.jpg`, with folders of these classes alone.
        class_names: names of the source's classes, which number the labels.
    """
    files = kt.datasets.image_files(target, options.image_size, class_names=class_names)
    return readable(files, options.skip_unreadable)[0]


def check_apart(options, target):
    """Raises an error for a target that is the source's folder, lies in it or around it, or shares a picture with it.

    Args:
        options: `Options` of the source.
        target: path of a folder.
    """
    if options.images is None:
        return
    source, there = pathlib.Path(options.images).resolve(), pathlib.Path(target).resolve()
    told = None
    if source == there:
        told = "the source's folder"
    elif source.is_dir() and there.is_relative_to(source):
        told = "in the source's folder"
    elif source.is_dir() and source.is_relative_to(there):
        told = "around the source's folder"
    elif source.is_file():
        shared = [path for path in find(options)[0].paths if path.resolve().is_relative_to(there)]
        told = f"around {len(shared)} pictures of the source" if shared else None
    if told:
        raise ValueError(f"Expected a target apart from the source {options.images}; received {target}, {told}.")


# What there is.


def find(options):
    """Returns the labelled pictures of the options, not yet read, and the folder from which their paths start."""
    if options.images is None:
        raise ValueError("Expected --images, a folder of class folders or a CSV file; received none.")
    path, size = pathlib.Path(options.images), options.image_size
    if path.is_dir():
        if options.group_column is not None:
            raise ValueError(
                f"Expected --group-column with a CSV file; received it with the folder {path}, where "
                "--group-by-folder says that folders below a class are groups."
            )
        return kt.datasets.image_files(path, size, group_by_folder=options.group_by_folder), path
    if not path.is_file():
        raise ValueError(f"Expected --images to be a folder or a CSV file; received {path}, which does not exist.")
    if path.suffix.lower() != ".csv":
        raise ValueError(f"Expected --images to be a folder of class folders, or a file .csv; received {path}.")
    columns = options.image_column, options.label_column, options.group_column
    files = kt.datasets.image_table(path, size, *columns)
    number = len(files)
    if len(files.class_names) == number > 1:
        raise ValueError(
            f"Expected classes in the column {options.label_column!r} of {path}; received an identifier: {number} "
            f"values in {number} rows."
        )
    if files.groups is not None:
        several = len(set(files.groups))
        if several in (1, number):
            told = "keeps all of them together" if several == 1 else "keeps none of them together"
            raise ValueError(
                f"Expected groups in the column {options.group_column!r} of {path}; received {several} different "
                f"value(s) in {number} rows, which {told}."
            )
    return files, path.parent


def check_classes(files):
    """Raises an error for fewer than two classes, and for a class with one picture, which cannot train and test."""
    counts = np.bincount(files.labels, minlength=len(files.class_names))
    if len(counts) < 2:
        raise ValueError(f"Expected at least two classes; received one, {files.class_names[0]!r}.")
    few = [name for name, count in zip(files.class_names, counts) if count < 2]
    if few:
        raise ValueError(
            "Expected at least 2 pictures of each class, one to train and one to test; received fewer of "
            f"{picture_split.some(few)}."
        )


def describe(train, test, unlabelled=None):
    """Returns one line on what was found: pictures on each side, classes and how many each has."""
    counts = np.bincount(np.concatenate([train.labels, test.labels]), minlength=len(train.class_names))
    order = np.argsort(-counts, kind="stable")
    shown = [f"{train.class_names[place]} {counts[place]}" for place in order]
    if len(shown) > 2 * SHOWN:
        shown = [*shown[:SHOWN], "...", *shown[-SHOWN:]]
    groups = "" if train.groups is None else f", {len(set(train.groups) | set(test.groups))} groups kept whole"
    more = "" if unlabelled is None else f", {len(unlabelled)} unlabelled"
    classes = f"{len(train.class_names)} classes ({', '.join(shown)})"
    return f"{len(train)} pictures train, {len(test)} test{more}{groups}; {classes}"


def _tests(files, options, root):
    """Returns which pictures test, bool (n,)."""
    if options.test is None:
        return picture_split.split(files, options.test_share)
    tests = np.isin(np.arange(len(files)), picture_split.listed(options.test, files, root))
    picture_split.check_sides(files, tests)
    return tests


def _unlabelled(options):
    path = pathlib.Path(options.images)
    beside = [path / name for name in UNLABELLED if (path / name).is_dir()] if path.is_dir() else []
    return kt.datasets.image_files(beside[0], options.image_size, labelled=False) if beside else None


# What can be read, and what is there twice.


def readable(files, skip=False):
    """Reads all pictures once, and returns those that can be read, their thumbnails, and where they were.

    Args:
        files: `kt.datasets.ImageFiles`.
        skip: bool, whether those that cannot be read are left out; otherwise they are an error.

    Returns:
        Tuple of `ImageFiles`, their thumbnails (n, dim) and int places (n,) in `files`.

    Raises:
        ValueError: if some cannot be read, and are not to be skipped, or none can.
    """
    small, faults = [None] * len(files), {}
    if len(files) > MANY:
        print(f"Reading {len(files)} pictures ...", flush=True)
    for start in range(0, len(files), BATCH):
        rows = np.arange(start, min(start + BATCH, len(files)))
        try:
            small[start : start + BATCH] = kt.datasets.thumbnails(files[rows])
        except ValueError:
            for row in rows:
                try:
                    small[row] = kt.datasets.thumbnails(files[[row]])[0]
                except ValueError as error:
                    faults[row] = str(error)
    if faults:
        told = f"{len(faults)} of {len(files)} pictures that cannot be read:\n  " + "\n  ".join(
            [*list(faults.values())[:SHOWN], *(["..."] if len(faults) > SHOWN else [])]
        )
        if not skip or len(faults) == len(files):
            raise ValueError(f"Expected pictures that can be read, or --skip-unreadable; received {told}")
        print(f"Skipped {told}", flush=True)
    kept = np.array([row for row in range(len(files)) if row not in faults], int)
    return files.subset(kept), np.stack([small[row] for row in kept]), kept


def warn_of_duplicates(first, second, first_thumbnails, second_thumbnails, first_does, second_does):
    """Prints how many pictures of the second set have a near duplicate in the first, and the first pairs."""
    shown, pairs, copies = [], 0, 0
    for start in range(0, len(second), BATCH):  # a film has more pairs than memory holds
        found = kt.datasets.near_duplicates(first_thumbnails, second_thumbnails[start : start + BATCH])
        pairs, copies = pairs + len(found), copies + len(set(found[:, 1].tolist()))
        shown += [(first.paths[here], second.paths[start + there]) for here, there in found[: SHOWN - len(shown)]]
    if not pairs:
        return
    print(
        f"Warning: {copies} of {len(second)} pictures look like one on the other side of the split. If they are "
        "copies, the test flatters; groups keep copies together."
    )
    for here, there in shown:
        print(f"  {here} {first_does}, {there} {second_does}")
    if pairs > len(shown):
        print(f"  and {pairs - len(shown)} pairs more", flush=True)
