"""Photographs in folders, one folder for each class."""

import unicodedata
from pathlib import Path

import numpy as np

from keras_transfer.datasets.images import SUFFIXES, height_and_width, photos_in, read_photo

_NO_CLASS = ("__MACOSX",)  # what unpacking an archive leaves


def image_folder(path, image_size=None, class_names=None, ground=255):
    """Loads photographs from `<path>/<class>/`, in the order of class and file name.

    Reads .jpg, .jpeg, .png, .webp, .bmp, .tif, .tiff and .gif, the first frame of each. Photographs are turned upright
    as their EXIF data says; 16 bits are scaled from 0-65,535 and floats from 0-1; what is transparent is laid on
    `ground`. Hidden files and folders are passed over, and so are files that are no pictures.

    Several folders of one study, such as two domains, must number their classes alike: load them with `image_folders`,
    or pass `class_names`.

    Args:
        path: folder of one folder for each class, which is named after it.
        image_size: side of the images in pixels, or a pair `(height, width)`: the largest centred part of that shape,
            bilinearly resized. None leaves the images as they are; they must then have one size.
        class_names: names of the classes in the order of their labels; a class without a folder has no rows. None: the
            folder's own, sorted.
        ground: int 0-255, the grey under transparent pixels; 255 is the white of paper.

    Returns:
        Tuple of images, uint8 (n, height, width, 3), 0-255; labels, int32 (n,), the indices of the class names; and
        the tuple of class names.

    Raises:
        ValueError: If there is no such folder, it has no folders of classes or others than `class_names`, a class has
            no photographs, photographs lie beside or below the folders of classes, where they belong to no class, a
            file is unreadable or of a format that is not read (named), `class_names` has one name twice, or the images
            differ in size and `image_size` is None.
        ImportError: If Pillow is missing.

    Example:

    ```python
    images, labels, class_names = kt.datasets.image_folder("my_photos", image_size=128)
    ```
    """
    size = None if image_size is None else height_and_width(image_size)
    if not (isinstance(ground, (int, np.integer)) and 0 <= ground <= 255):
        raise ValueError(f"Expected `ground` to be an integer from 0 to 255; received {ground!r}.")
    folders = _classes(Path(path))
    class_names = tuple(sorted(folders)) if class_names is None else _names(class_names)
    others = sorted(set(folders) - set(class_names))
    if others:
        raise ValueError(f"Expected the classes {class_names} in {path}; received folders of others: {tuple(others)}.")
    files = [
        (label, file) for label, name in enumerate(class_names) if name in folders for file in _photos(folders[name])
    ]
    images = [_resized(read_photo(file, str(file), int(ground)), size) for _, file in files]
    for (_, file), image in zip(files, images):
        if image.shape != images[0].shape:
            raise ValueError(
                f"Expected images of one size, or an `image_size`; received {images[0].shape[:2]} in {files[0][1]} and "
                f"{image.shape[:2]} in {file}."
            )
    return np.stack(images), np.array([label for label, _ in files], np.int32), class_names


def image_folders(paths, image_size=None, class_names=None, ground=255):
    """Loads several folders of one study, such as the domains of an adaptation, with one numbering of the classes.

    Args:
        paths: dict of names to folders, each as `image_folder` reads it.
        image_size: see `image_folder`; all folders then have images of one size.
        class_names: names of the classes in the order of their labels, of which a folder may lack some. None: those of
            the folders, sorted, which must then be the same in all of them.
        ground: see `image_folder`.

    Returns:
        Tuple of the dict of the same names to pairs `(images, labels)`, and of the tuple of class names.

    Raises:
        ValueError: If the folders have different classes and `class_names` is None, or what `image_folder` raises.
        ImportError: If Pillow is missing.

    Example:

    ```python
    domains, class_names = kt.datasets.image_folders({"source": "renders", "target": "photos"}, image_size=128)
    stream = kt.streams.domains(domains["source"], domains["target"][0], classes=len(class_names))
    ```
    """
    if not isinstance(paths, dict) or not paths:
        raise ValueError(f"Expected `paths` to be a dict of names to folders; received {paths!r}.")
    if class_names is None:
        found = {name: set(_classes(Path(path))) for name, path in paths.items()}
        class_names = tuple(sorted(set().union(*found.values())))
        lacking = {name: tuple(sorted(set(class_names) - classes)) for name, classes in found.items()}
        if any(lacking.values()):
            lacks = ", ".join(f"{name!r} lacks {missing}" for name, missing in lacking.items() if missing)
            raise ValueError(
                f"Expected the same classes in all folders; received folders of which {lacks}. If they are named as "
                f"they should be, pass class_names={class_names}."
            )
    loaded = {name: image_folder(path, image_size, class_names, ground)[:2] for name, path in paths.items()}
    return loaded, _names(class_names)


def _names(class_names):
    names = tuple(class_names)
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"Expected `class_names` to be strings; received {class_names!r}.")
    names = tuple(_composed(name) for name in names)
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"Expected each of `class_names` once; received {twice[0]!r} more than once.")
    return names


def _composed(name):
    """One spelling of letters with accents, which macOS writes as two characters."""
    return unicodedata.normalize("NFC", name)


def _folders(path):
    return sorted(
        child
        for child in path.iterdir()
        if child.is_dir() and not child.name.startswith(".") and child.name not in _NO_CLASS
    )


def _classes(path):
    """Returns `{class name: its folder}`."""
    if not path.is_dir():
        raise ValueError(f"Expected a folder of the layout <class>/*.jpg; received {str(path)!r}, which is no folder.")
    beside = photos_in(path)
    if beside:
        raise ValueError(
            f"Expected a folder of photographs for each class in {path}; received {len(beside)} that lie beside such "
            f"folders, {beside[0].name} among them."
        )
    folders = _folders(path)
    if not folders:
        raise ValueError(f"Expected a folder of photographs for each class in {path}; received none.")
    classes = {}
    for folder in folders:
        name = _composed(folder.name)
        if name in classes:
            raise ValueError(f"Expected one folder for each class; received two of the name {name!r} in {path}.")
        classes[name] = folder
    return classes


def _photos(folder):
    files = photos_in(folder)
    for below in _folders(folder):
        if any(file.suffix.lower() in SUFFIXES for file in below.rglob("*")):
            raise ValueError(
                f"Expected photographs in {folder}, the folder of a class; received some in {below}, below it."
            )
    if not files:
        raise ValueError(f"Expected photographs {', '.join(SUFFIXES)} in {folder}; received none.")
    return files


def _resized(image, size):
    if size is None or image.shape[:2] == size:
        return image
    from PIL import Image, ImageOps

    height, width = size
    return np.asarray(ImageOps.fit(Image.fromarray(image), (width, height), Image.Resampling.BILINEAR))
