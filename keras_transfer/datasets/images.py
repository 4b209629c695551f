"""What several data sets do to their images: change their size, read photographs, blend digits into these."""

import io
import struct
import tarfile
import zlib
from pathlib import Path

import keras
import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
UNREAD = (".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".psd", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".raw")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)  # what Pillow's readers raise
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # a tag of TIFF


def height_and_width(image_size):
    """Returns `(height, width)` of an `image_size`, which is that pair, or the side of a square, in pixels.

    Raises:
        ValueError: if it is neither, or less than 1 pixel.
    """
    pair = tuple(image_size) if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    whole = all(isinstance(side, (int, np.integer)) and not isinstance(side, bool) for side in pair)
    if len(pair) != 2 or not whole or min(pair) < 1:
        raise ValueError(
            f"Expected `image_size` to be at least 1 pixel, an integer or a pair (height, width); received "
            f"{image_size!r}."
        )
    return int(pair[0]), int(pair[1])


def resize(images, image_size):
    """Returns uint8 images (n, h, w, c) resized to an `image_size`, bilinear; as they are for None.

    Args:
        images: uint8 array (n, h, w, c).
        image_size: side in pixels, or a pair `(height, width)`.
    """
    if image_size is None:
        return images
    size = height_and_width(image_size)
    resized = keras.ops.image.resize(images.astype("float32"), size, antialias=True, data_format="channels_last")
    return np.rint(keras.ops.convert_to_numpy(resized)).astype(np.uint8)


def read_photo(file, name, ground=255, size=None):
    """Returns one photograph as 8 bits of red, green and blue, upright as its EXIF data says.

    Values of 16 bits are scaled from 0-65,535, floats from 0-1. What is transparent is laid on the ground. Of a file of
    several frames, the first is read.

    Args:
        file: path, or an open binary file.
        name: str, what an error calls the file.
        ground: int 0-255, the grey under transparent pixels; 255 is the white of paper.
        size: pair `(height, width)`: the largest centred part of that shape, bilinearly resized to it. None leaves the
            photograph as it is. A JPEG of at least four times the size is decoded at a half, a quarter or an eighth of
            its own, never below twice the size, which takes a fraction of the time.

    Returns:
        uint8 array (height, width, 3), 0-255.

    Raises:
        ValueError: if the file is no complete photograph, is larger than Pillow opens, or holds values whose white is
            unknown: floats outside 0-1, integers of 32 bits. The file is named.
        ImportError: if Pillow is missing.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError("Reading photographs needs Pillow: pip install 'keras_transfer[recipes]'") from error

    try:
        with Image.open(file) as image:
            if size is not None and image.format == "JPEG":
                image.draft(None, (2 * max(size), 2 * max(size)))
            ImageOps.exif_transpose(image, in_place=True)
            upright = _in_8_bits(image, ground)
            if size is not None and upright.size != size[::-1]:
                upright = ImageOps.fit(upright, size[::-1], Image.Resampling.BILINEAR)
            return np.array(upright)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"Expected {name} to have at most as many pixels as Pillow opens; received: {error} If you trust the file, "
            "set `PIL.Image.MAX_IMAGE_PIXELS` higher."
        ) from error
    except _Unknown as error:
        raise ValueError(f"Expected {name} to hold {error}; convert it to 8 bits.") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        zlib.error,
    ) as error:  # what Pillow's readers raise
        raise ValueError(f"Expected {name} to be a complete photograph; received: {error}.") from error


class _Unknown(Exception):
    """Values of which nobody knows what is white."""


def _in_8_bits(image, ground):
    """Returns an opened image, turned upright, in mode RGB."""
    from PIL import Image

    if image.mode in _SIXTEEN_BITS or (image.mode == "I" and image.format in ("PNG", "PPM")):
        deep = np.asarray(image).astype(np.int64)
        if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            deep = 65535 - deep  # Pillow inverts 8 bits alone
        grey = np.rint(deep / 257)
        if isinstance(image.info.get("transparency"), int):
            grey = np.where(deep == image.info["transparency"], ground, grey)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.asarray(image)
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise _Unknown(f"floats from 0 to 1; received floats from {values.min():g} to {values.max():g}")
        return Image.fromarray(np.rint(255 * values).astype(np.uint8)).convert("RGB")
    if image.mode.startswith("I"):
        raise _Unknown(f"values of 8 or 16 bits, or floats; received integers of 32 bits (mode {image.mode!r})")
    if image.has_transparency_data:
        below = Image.new("RGBA", image.size, (ground, ground, ground, 255))
        return Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def photos_in(folder):
    """Returns the sorted paths of a folder's photographs.

    Hidden files are passed over, among them the `._` files that macOS leaves beside photographs.

    Args:
        folder: Path.

    Raises:
        ValueError: if there is a picture of a format that is not read, which is named.
    """
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    unread = [file for file in files if file.suffix.lower() in UNREAD]
    if unread:
        raise ValueError(
            f"Expected photographs {', '.join(SUFFIXES)}; received {unread[0]}. Convert it to .png or .jpg."
        )
    return [file for file in files if file.suffix.lower() in SUFFIXES]


def read_photos(source):
    """Returns the photographs of a folder, or of the train images of the BSDS500 archive.

    Args:
        source: Path of the folder, whose photographs are read as `read_photo` says, or of the .tgz archive.

    Returns:
        List of uint8 arrays (height, width, 3), 0-255, in the order of their file names.

    Raises:
        ValueError: If the source holds no photographs, or is truncated or corrupt.
        ImportError: If Pillow is missing.
    """
    source = Path(source)
    if source.is_dir():
        files = {str(path): path for path in photos_in(source)}
    elif source.is_file():
        files = {name: io.BytesIO(data) for name, data in _read_train_images(source).items()}
    else:
        raise ValueError(f"Expected a folder of photographs; received {str(source)!r}, which does not exist.")
    if not files:
        raise ValueError(f"Expected photographs {', '.join(SUFFIXES)} in {source}; received none.")
    return [read_photo(files[name], name) for name in sorted(files)]


def _read_train_images(archive):
    try:
        with tarfile.open(archive) as tar:
            members = (m for m in tar if "/images/train/" in m.name and m.name.endswith(".jpg") and "/._" not in m.name)
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
