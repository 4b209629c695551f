"""Pictures that are the same but for their size, encoding, brightness or contrast."""

import numpy as np

from keras_transfer.checks import check_number

SIDE = 8  # areas along a side of a thumbnail
_BATCH = 256  # images read at a time
_ROWS = 1024  # compared at a time


def near_duplicates(images, others=None, similarity=0.985):
    """Finds pairs of images that are the same but for their size, encoding, brightness or contrast.

    A pair's thumbnails (see `thumbnails`) correlate by at least `similarity`. On 6,062 pictures of PACS and 1,000 of
    Office-31, reduced to 128 pixels, no copy at half the size as a JPEG of quality 75 is missed
    (`results/near_duplicates.json`). What else is paired is mostly one thing in another colour or of a neighbouring
    model, and seldom two things of one outline on white: look at the pairs. Mirrored, turned and cropped copies are
    not found.

    Args:
        images: uint8 array (n, height, width, channels), `ImageFiles`, or their thumbnails, float32 (n, dim).
        others: the same for a second set, such as the test; None finds pairs within the first.
        similarity: float above 0 and at most 1.

    Returns:
        int array (pairs, 2): the place in `images`, and the place in `others`, or the later one in `images`; sorted.

    Raises:
        ValueError: if the images are no such array, or a file is unreadable.

    Example:

    ```python
    pairs = kt.datasets.near_duplicates(train_files, test_files)
    for here, there in pairs[:5]:
        print(train_files.paths[here], test_files.paths[there])
    ```
    """
    check_number(similarity, "similarity", above=0, most=1)
    first = _as_thumbnails(images)
    second = first if others is None else _as_thumbnails(others)
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(
            f"Expected `images` and `others` with as many channels; received thumbnails of {first.shape[1]} and "
            f"{second.shape[1]} values."
        )
    pairs = [np.zeros((0, 2), int)]
    for start in range(0, len(first), _ROWS):
        here, there = np.nonzero(first[start : start + _ROWS] @ second.T >= similarity - 1e-6)  # of rounding
        here += start
        kept = slice(None) if others is not None else here < there
        pairs.append(np.stack([here[kept], there[kept]], axis=1))
    return np.concatenate(pairs)


def thumbnails(images):
    """Returns 8 x 8 thumbnails as vectors whose products are correlations: mean 0, length 1.

    Args:
        images: uint8 array (n, height, width, channels), or `ImageFiles`, which are read a few hundred at a time.

    Returns:
        float32 array (n, 8 * 8 * channels). Of an image of one tone, zeros: it correlates with nothing.

    Raises:
        ValueError: if it is no such array, or a file is unreadable.
    """
    shape = tuple(images.shape)
    if len(shape) != 4:
        raise ValueError(f"Expected `images` of shape (n, height, width, channels); received {shape}.")
    if not len(images):
        return np.zeros((0, SIDE * SIDE * shape[3]), np.float32)
    return np.concatenate([_reduced(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)])


def _as_thumbnails(images):
    return images if isinstance(images, np.ndarray) and images.ndim == 2 else thumbnails(images)


def _reduced(images):
    small = _areas(_areas(images.astype(np.float32), 1), 2).reshape(len(images), -1)
    small -= small.mean(axis=1, keepdims=True)
    length = np.linalg.norm(small, axis=1, keepdims=True)
    return np.where(length > 1e-2, small / np.maximum(length, 1e-2), 0).astype(np.float32)


def _areas(values, axis):
    """Averages an axis into areas of equal size, pixels on a border by their shares."""
    length = values.shape[axis]
    borders = np.arange(SIDE + 1) * length / SIDE
    pixels = np.arange(length)
    shares = np.minimum(pixels + 1, borders[1:, None]) - np.maximum(pixels, borders[:-1, None])  # (areas, pixels)
    weights = (np.maximum(shares, 0) * SIDE / length).astype(np.float32)
    return np.moveaxis(np.tensordot(weights, values, axes=(1, axis)), 0, axis)
