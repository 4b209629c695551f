"""USPS: digits from the envelopes of the US Postal Service."""

import numpy as np

from keras_transfer.datasets.files import check_split, fetch, read_gzip
from keras_transfer.datasets.images import resize

_USPS = "https://hastie.su.domains/ElemStatLearn/datasets/"
_SHA256 = {
    "zip.train.gz": "66ebf231ab51f2cf6ac1a892d0f98ccffee1079d7a5db638c1f11f366046ca16",
    "zip.test.gz": "8dacc3c6e136af6c3488de9e5113a7daf140c8c2f1f0b61c54ee02f03f1a962f",
}


def usps(split="train", image_size=None):
    """Loads USPS: 7,291 train and 2,007 test images of handwritten digits, scanned from envelopes.

    Reads `zip.train.gz` or `zip.test.gz` from `$KERAS_TRANSFER_DATA/usps`, or downloads it once (2 MB). The files'
    values, from -1 to 1, become 0 to 255 here.

    Args:
        split: `"train"` or `"test"`; the latter is known to be harder.
        image_size: Side of the images in pixels, or a pair (height, width), bilinearly resized. By default the original
            16.

    Returns:
        Tuple of images, uint8 (n, height, width, 1), ink 255 on 0, and labels, int32 (n,), 0-9.

    Raises:
        ValueError: If the file is truncated or corrupt.

    Reference: T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical Learning", 2nd edition, 2009
    (zipcode data).
    """
    check_split(split)
    name = f"zip.{split}.gz"
    pixels, labels = _read_zip(fetch(name, "usps", _USPS + name, _SHA256[name]))
    images = np.rint((pixels + 1) * 127.5).astype(np.uint8).reshape(-1, 16, 16, 1)
    return resize(images, image_size), labels


def _read_zip(path):
    """Reads rows of a label and 256 values in [-1, 1]."""
    lines = read_gzip(path).decode("ascii", "replace").splitlines()
    if not lines:
        raise ValueError(f"Expected rows of 257 numbers in {path}; received none.")
    for i, line in enumerate(lines):
        if len(line.split()) != 257:
            raise ValueError(f"Expected rows of 257 numbers in {path}; received {len(line.split())} in row {i}.")
    try:
        rows = np.loadtxt(lines, np.float32, ndmin=2)
    except ValueError as error:
        raise ValueError(f"Expected rows of 257 numbers in {path}; received: {error}.") from error
    labels, pixels = rows[:, 0], rows[:, 1:]
    if not np.isin(labels, range(10)).all() or not (np.abs(pixels) <= 1).all():
        raise ValueError(
            f"Expected labels 0-9 and values from -1 to 1 in {path}; received labels from {labels.min():g} to "
            f"{labels.max():g} and values from {pixels.min():g} to {pixels.max():g}."
        )
    return pixels, labels.astype(np.int32)
