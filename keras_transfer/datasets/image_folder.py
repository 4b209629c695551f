"""Photographs in folders, one folder for each class."""

from pathlib import Path

import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png")


def image_folder(path, image_size=None):
    """Loads photographs from `<path>/<class>/*.jpg` and `.png`, in the order of class and file name.

    Photographs are turned upright as their EXIF data says. Hidden files and folders are passed over.

    Args:
        path: folder of one folder for each class, which is named after it.
        image_size: side of the images in pixels: the largest centred square, bilinearly resized. None leaves the
            images as they are; they must then have one size.

    Returns:
        Tuple of images, uint8 (n, height, width, 3), 0-255; labels, int32 (n,), the indices of the class names; and
        the sorted tuple of class names.

    Raises:
        ValueError: If there is no such folder, it has no folders of classes, a class has no photographs, a file is
            unreadable (named), or the images differ in size and `image_size` is None.
        ImportError: If Pillow is missing.

    Example:

    ```python
    images, labels, class_names = kt.datasets.image_folder("my_photos", image_size=128)
    ```
    """
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"Expected a folder of the layout <class>/*.jpg; received {str(path)!r}, which is no folder.")
    if image_size is not None and image_size < 1:
        raise ValueError(f"Expected `image_size` to be at least 1 pixel; received {image_size}.")
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    if not folders:
        raise ValueError(f"Expected a folder of photographs for each class in {path}; received none.")
    files = [(label, file) for label, folder in enumerate(folders) for file in _photos(folder)]
    images = [_read(file, image_size) for _, file in files]
    for (_, file), image in zip(files, images):
        if image.shape != images[0].shape:
            raise ValueError(
                f"Expected images of one size, or an `image_size`; received {images[0].shape[:2]} in {files[0][1]} and "
                f"{image.shape[:2]} in {file}."
            )
    labels = np.array([label for label, _ in files], np.int32)
    return np.stack(images), labels, tuple(folder.name for folder in folders)


def _photos(folder):
    files = (file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    files = sorted(files)
    if not files:
        raise ValueError(f"Expected .jpg or .png files in {folder}; received none.")
    return files


def _read(file, image_size):
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError("Reading photographs needs Pillow: pip install 'keras_transfer[recipes]'") from error

    try:
        with Image.open(file) as image:
            image = ImageOps.exif_transpose(image).convert("RGB")
    except OSError as error:
        raise ValueError(f"Expected {file} to be a complete photograph; received: {error}.") from error
    if image_size is not None and image.size != (image_size, image_size):
        image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(image)
