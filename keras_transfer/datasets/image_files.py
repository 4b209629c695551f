"""Labelled pictures that stay on disk until they are asked for."""

import concurrent.futures
import csv as csv_reader
import os
import unicodedata
from pathlib import Path

import numpy as np

from keras_transfer.datasets.images import SUFFIXES, height_and_width, photos_in, read_photo
from keras_transfer.stored_rows import StoredRows

UNLABELLED = ("unlabelled", "unlabeled")  # beside the folders of classes, and no class
_NO_CLASS = ("__MACOSX",)  # what unpacking an archive leaves
_SHOWN = 5  # files or values that an error names


class ImageFiles(StoredRows):
    """Pictures on disk with their labels, which are read where they are asked for: `files[3:10]`, `files[order]`.

    Made by `kt.datasets.image_files` and `kt.datasets.image_table`. `kt.streams.images`, `kt.streams.views` and
    `kt.backbones.cached_features` take it in place of an array, and hold no more than a few batches in memory.

    Example:

    ```python
    files = kt.datasets.image_files("my_photos", image_size=128)
    images = files[:]  # uint8 (n, 128, 128, 3): all of them, if they fit in memory
    dogs = files.subset(np.flatnonzero(files.labels == files.class_names.index("dog")))
    ```

    Attributes:
        paths: tuple of `pathlib.Path`, one for each picture.
        labels: int32 (n,), the indices of the class names; None where there are none.
        class_names: tuple of str, in the order of the labels; empty where there are none.
        groups: array of str (n,); pictures of one group show one thing and belong on one side of a split. None where
            nothing is known of groups.
        image_size: pair `(height, width)` of what is read, or None for pictures as they are.
        ground: int 0-255, the grey under transparent pixels.
    """

    def __init__(self, paths, labels=None, class_names=(), groups=None, image_size=None, ground=255):
        self.paths = tuple(Path(path) for path in paths)
        self.labels = None if labels is None else np.asarray(labels, np.int32)
        self.class_names = tuple(class_names)
        self.groups = None if groups is None else np.asarray(groups, str)
        self.image_size = None if image_size is None else height_and_width(image_size)
        self.ground = ground
        if not (isinstance(ground, (int, np.integer)) and 0 <= ground <= 255):
            raise ValueError(f"Expected `ground` to be an integer from 0 to 255; received {ground!r}.")
        for name, array in (("labels", self.labels), ("groups", self.groups)):
            if array is not None and array.shape != (len(self.paths),):
                raise ValueError(
                    f"Expected `{name}` of shape ({len(self.paths)},), one for each picture; received {array.shape}."
                )

    def __len__(self):
        return len(self.paths)

    def __repr__(self):
        size = "as they are" if self.image_size is None else "{} x {} pixels".format(*self.image_size)
        return f"ImageFiles({len(self)} pictures, {size}, {len(self.class_names)} classes)"

    @property
    def shape(self):
        """The shape of all pictures as one array, `(n, height, width, 3)`; None where the size is not known."""
        return (len(self), *(self.image_size or (None, None)), 3)

    def __getitem__(self, indices):
        """Reads pictures.

        Args:
            indices: int, slice, sequence of integers, or bool array (n,).

        Returns:
            uint8 array (height, width, 3) of one, or (n, height, width, 3) of several, 0-255.

        Raises:
            IndexError: if there is no such picture.
            ValueError: if a file is unreadable, which is named, or `image_size` is None and sizes differ.
        """
        if isinstance(indices, (int, np.integer)) and not isinstance(indices, bool):
            return self._read(self.paths[indices])
        paths = [self.paths[index] for index in self._places(indices)]
        if not paths:
            return np.zeros((0, *(self.image_size or (0, 0)), 3), np.uint8)
        with concurrent.futures.ThreadPoolExecutor(min(len(paths), os.cpu_count() or 1)) as pool:
            images = list(pool.map(self._read, paths))
        for path, image in zip(paths, images):
            if image.shape != images[0].shape:
                raise ValueError(
                    f"Expected images of one size, or an `image_size`; received {images[0].shape[:2]} in {paths[0]} "
                    f"and {image.shape[:2]} in {path}."
                )
        return np.stack(images)

    def subset(self, indices):
        """Returns the `ImageFiles` of some of the pictures, with the same class names; nothing is read.

        Args:
            indices: slice, sequence of integers, or bool array (n,).
        """
        places = self._places(indices)
        labels, groups = (None if array is None else array[places] for array in (self.labels, self.groups))
        paths = [self.paths[place] for place in places]
        return ImageFiles(paths, labels, self.class_names, groups, self.image_size, self.ground)

    def _places(self, indices):
        if not isinstance(indices, slice):
            indices = np.asarray(indices, None if len(indices) else int)  # NumPy takes an empty list for floats
        return np.arange(len(self))[indices]

    def _read(self, path):
        return read_photo(path, str(path), int(self.ground), self.image_size)


def image_files(path, image_size=None, labelled=True, class_names=None, group_by_folder=False, ground=255):
    """Lists the pictures of a folder, without reading them.

    Labelled pictures lie in `<path>/<class>/`, and are listed in the order of class and file name. A folder
    `unlabelled` (or `unlabeled`) beside these is no class. Hidden files and folders are passed over, and so are files
    that are no pictures.

    Reads .jpg, .jpeg, .png, .webp, .bmp, .tif, .tiff and .gif, the first frame of each. Photographs are turned upright
    as their EXIF data says; 16 bits are scaled from 0-65,535 and floats from 0-1; what is transparent is laid on
    `ground`.

    Args:
        path: folder of one folder for each class, which is named after it; or any folder of pictures.
        image_size: side of the images in pixels, or a pair `(height, width)`: the largest centred part of that shape,
            bilinearly resized. None leaves the images as they are.
        labelled: bool. False: all pictures in the folder and at any depth below it, whose names mean nothing.
        class_names: names of the classes in the order of their labels; a class without a folder has no rows. None: the
            folder's own, sorted.
        group_by_folder: bool. True: pictures of a class lie in folders below its own, `<class>/<group>/*.jpg`, such as
            one for each animal or each day; each of these is a group. Pictures beside them are a group each.
        ground: int 0-255, the grey under transparent pixels; 255 is the white of paper.

    Returns:
        `ImageFiles`.

    Raises:
        ValueError: If there is no such folder, it has no folders of classes or others than `class_names`, a class has
            no photographs, photographs lie beside or below the folders of classes, where they belong to no class, a
            file is of a format that is not read (named), or `class_names` has one name twice.

    Example:

    ```python
    files = kt.datasets.image_files("my_photos", image_size=128)
    more = kt.datasets.image_files("my_photos/unlabelled", image_size=128, labelled=False)
    ```
    """
    path = Path(path)
    if not labelled:
        return ImageFiles(_all_photos(path), image_size=image_size, ground=ground)
    folders = classes_in(path)
    names = tuple(sorted(folders)) if class_names is None else checked_names(class_names)
    others = sorted(set(folders) - set(names))
    if others:
        raise ValueError(f"Expected the classes {names} in {path}; received folders of others: {tuple(others)}.")
    rows = [
        (file, label, group)
        for label, name in enumerate(names)
        if name in folders
        for file, group in _photos(folders[name], group_by_folder)
    ]
    files, labels, groups = zip(*rows)
    return ImageFiles(files, labels, names, groups if group_by_folder else None, image_size, ground)


def image_table(
    csv,
    image_size=None,
    image_column="path",
    label_column="label",
    group_column=None,
    root=None,
    class_names=None,
    ground=255,
):
    """Lists the pictures of a CSV file that has a row for each, without reading them.

    Args:
        csv: path of a CSV file in UTF-8 whose first line names the columns.
        image_size: see `image_files`.
        image_column: name of the column of paths.
        label_column: name of the column of class names; None for pictures without labels.
        group_column: name of the column of groups, such as a patient or a camera; None for none.
        root: folder from which relative paths start; None: that of the CSV file.
        class_names: names of the classes in the order of their labels. None: those of the column, sorted.
        ground: see `image_files`.

    Returns:
        `ImageFiles` in the order of the rows.

    Raises:
        ValueError: If there is no such file, it has no rows or lacks a column (named, with those that are there), a
            cell of these columns is empty, a picture is not there or has two rows, or a label is not among
            `class_names`.

    Example:

    ```python
    files = kt.datasets.image_table("birds.csv", 128, image_column="file", label_column="species", group_column="day")
    ```
    """
    csv = Path(csv)
    wanted = [column for column in (image_column, label_column, group_column) if column is not None]
    columns = read_columns(csv, wanted)
    for name in wanted:
        empty = [row for row, value in enumerate(columns[name], 2) if not value]
        if empty:
            raise ValueError(
                f"Expected a value in each row of the column {name!r} of {csv}; received none in {len(empty)}, such as "
                f"line {empty[0]}."
            )
    base = csv.parent if root is None else Path(root)
    paths = [base / value for value in columns[image_column]]
    lost = [path for path in paths if not path.is_file()]
    if lost:
        raise ValueError(
            f"Expected the pictures of the column {image_column!r} of {csv}; received {len(lost)} of {len(paths)} that "
            f"are not there: {_some(lost)}."
        )
    twice = _repeated(os.path.realpath(path) for path in paths)
    if twice:
        raise ValueError(f"Expected one row for each picture in {csv}; received several for {_some(twice)}.")
    labels, names = None, ()
    if label_column is not None:
        values = [composed(value) for value in columns[label_column]]
        names = tuple(sorted(set(values))) if class_names is None else checked_names(class_names)
        others = sorted(set(values) - set(names))
        if others:
            raise ValueError(
                f"Expected the classes {names} in the column {label_column!r} of {csv}; received others: "
                f"{tuple(others[:_SHOWN])}."
            )
        number = {name: label for label, name in enumerate(names)}
        labels = [number[value] for value in values]
    groups = None if group_column is None else columns[group_column]
    return ImageFiles(paths, labels, names, groups, image_size, ground)


def read_columns(csv, wanted=()):
    """Returns the columns of a CSV file, `{name: list of str}`, spaces around the cells taken away.

    Args:
        csv: path of the file, UTF-8; its first line names the columns.
        wanted: names of columns that must be there.

    Raises:
        ValueError: if there is no such file, it has no rows, two columns of one name or lacks one that is wanted, or a
            row has another number of cells.
    """
    csv = Path(csv)
    if not csv.is_file():
        raise ValueError(f"Expected a CSV file; received {str(csv)!r}, which is no file.")
    try:
        with open(csv, encoding="utf-8-sig", newline="") as file:
            rows = [[cell.strip() for cell in row] for row in csv_reader.reader(file, strict=True) if row]
    except (UnicodeDecodeError, csv_reader.Error) as error:
        raise ValueError(f"Expected {csv} to be a CSV file in UTF-8; received: {error}.") from error
    if len(rows) < 2:
        raise ValueError(f"Expected a line of names and at least one row in {csv}; received {len(rows)} lines.")
    names = rows[0]
    twice = _repeated(names)
    if twice:
        raise ValueError(f"Expected each column once in {csv}; received several of the name {_some(twice)}.")
    lacking = [name for name in wanted if name not in names]
    if lacking:
        raise ValueError(
            f"Expected the columns {', '.join(map(repr, lacking))} in {csv}; received {', '.join(map(repr, names))}."
        )
    for line, row in enumerate(rows[1:], 2):
        if len(row) != len(names):
            raise ValueError(f"Expected {len(names)} cells in each row of {csv}; received {len(row)} in row {line}.")
    return dict(zip(names, map(list, zip(*rows[1:]))))


# What is in a folder.


def classes_in(path):
    """Returns `{class name: its folder}` of a folder of class folders.

    Args:
        path: Path.

    Raises:
        ValueError: if it is no folder, has none, or has pictures beside them.
    """
    if not path.is_dir():
        raise ValueError(f"Expected a folder of the layout <class>/*.jpg; received {str(path)!r}, which is no folder.")
    beside = photos_in(path)
    if beside:
        raise ValueError(
            f"Expected a folder of photographs for each class in {path}; received {len(beside)} that lie beside such "
            f"folders, {beside[0].name} among them."
        )
    folders = [folder for folder in _folders(path) if folder.name not in UNLABELLED]
    if not folders:
        raise ValueError(f"Expected a folder of photographs for each class in {path}; received none.")
    classes = {}
    for folder in folders:
        name = composed(folder.name)
        if name in classes:
            raise ValueError(f"Expected one folder for each class; received two of the name {name!r} in {path}.")
        classes[name] = folder
    return classes


def checked_names(class_names):
    """Returns class names as a tuple, each spelt in one way.

    Args:
        class_names: sequence of str.

    Raises:
        ValueError: if they are no strings, or one comes twice.
    """
    names = tuple(class_names)
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"Expected `class_names` to be strings; received {class_names!r}.")
    names = tuple(composed(name) for name in names)
    twice = _repeated(names)
    if twice:
        raise ValueError(f"Expected each of `class_names` once; received {twice[0]!r} more than once.")
    return names


def composed(name):
    """Returns a name with one spelling of letters with accents, which macOS writes as two characters."""
    return unicodedata.normalize("NFC", name)


def _folders(path):
    return sorted(
        child
        for child in path.iterdir()
        if child.is_dir() and not child.name.startswith(".") and child.name not in _NO_CLASS
    )


def _all_photos(path):
    if not path.is_dir():
        raise ValueError(f"Expected a folder of photographs; received {str(path)!r}, which is no folder.")
    files = _below(path)
    if not files:
        raise ValueError(f"Expected photographs {', '.join(SUFFIXES)} in {path}; received none.")
    return files


def _below(path):
    return photos_in(path) + [file for folder in _folders(path) for file in _below(folder)]


def _photos(folder, grouped):
    """Returns pairs of a picture of a class and its group."""
    rows = [(file, str(file)) for file in photos_in(folder)]
    for below in _folders(folder):
        if grouped:
            rows += [(file, str(below)) for file in _below(below)]
        elif any(file.suffix.lower() in SUFFIXES for file in below.rglob("*")):
            raise ValueError(
                f"Expected photographs in {folder}, the folder of a class; received some in {below}, below it. Where "
                "such folders are groups, say `group_by_folder`."
            )
    if not rows:
        raise ValueError(f"Expected photographs {', '.join(SUFFIXES)} in {folder}; received none.")
    return rows


def _repeated(values):
    seen, twice = set(), set()
    for value in values:
        (twice if value in seen else seen).add(value)
    return sorted(twice)


def _some(values):
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(str(value) for value in values[:_SHOWN]) + more
