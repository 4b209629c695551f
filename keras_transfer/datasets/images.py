"""What several data sets do to their images: change their size, read photographs, blend digits into these."""

import io
import tarfile
from pathlib import Path

import keras
import numpy as np


def resize(images, image_size):
    """Returns uint8 images (n, h, w, c) resized to (n, image_size, image_size, c), bilinear; as they are for None."""
    if image_size is None:
        return images
    if image_size < 1:
        raise ValueError(f"Expected `image_size` to be at least 1 pixel; received {image_size}.")
    resized = keras.ops.image.resize(
        images.astype("float32"), (image_size, image_size), antialias=True, data_format="channels_last"
    )
    return np.rint(keras.ops.convert_to_numpy(resized)).astype(np.uint8)


def read_photos(source):
    """Returns the photographs of a folder of .jpg and .png files, or of the train images of the BSDS500 archive.

    Args:
        source: Path of the folder or of the .tgz archive.

    Returns:
        List of uint8 arrays (height, width, 3), 0-255, in the order of their file names.

    Raises:
        ValueError: If the source holds no photographs, or is truncated or corrupt.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("Reading photographs needs Pillow: pip install 'keras_transfer[recipes]'") from error

    source = Path(source)
    if source.is_dir():
        paths = (path for path in source.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        files = {str(path): path.read_bytes() for path in paths}
    elif source.is_file():
        files = _read_train_images(source)
    else:
        raise ValueError(f"Expected a folder of photographs; received {str(source)!r}, which does not exist.")
    if not files:
        raise ValueError(f"Expected .jpg or .png files in {source}; received none.")
    photos = []
    for name in sorted(files):
        try:
            photos.append(np.asarray(Image.open(io.BytesIO(files[name])).convert("RGB")))
        except OSError as error:
            raise ValueError(f"Expected {name} to be a complete photograph; received: {error}.") from error
    return photos


def _read_train_images(archive):
    try:
        with tarfile.open(archive) as tar:
            members = (m for m in tar if "/images/train/" in m.name and m.name.endswith(".jpg"))
            return {f"{archive}/{m.name}": tar.extractfile(m).read() for m in members}
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"Expected {archive} to be a complete archive; received: {error}.") from error


def blend_into_photos(digits, photos, seed):
    """Returns |patch - digit| for a random patch of a random photograph for each digit: the MNIST-M recipe.

    Args:
        digits: uint8 array (n, s, s, 1), 0-255.
        photos: List of uint8 arrays (height, width, 3), 0-255, each at least s high and wide.
        seed: Seed of `numpy.random.default_rng`.

    Returns:
        uint8 array (n, s, s, 3), 0-255.
    """
    n, size = digits.shape[:2]
    smallest = min(min(photo.shape[:2]) for photo in photos)
    if smallest < size:
        raise ValueError(f"Expected photographs of at least {size} x {size} pixels; received a side of {smallest}.")
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(photos), size=n)
    corners = rng.random((n, 2))
    blended = np.empty((n, size, size, 3), np.uint8)
    for i, photo in enumerate(photos):
        here = chosen == i
        windows = np.lib.stride_tricks.sliding_window_view(photo, (size, size), axis=(0, 1))  # (rows, columns, 3, s, s)
        rows, columns = (corners[here] * windows.shape[:2]).astype(int).T
        patches = np.moveaxis(windows[rows, columns], 1, -1)
        blended[here] = np.maximum(patches, digits[here]) - np.minimum(patches, digits[here])
    return blended
