"""Pictures that are the same but for their size, encoding or a small change of tone."""

import numpy as np

from keras_transfer.checks import check_integer

_GREY = np.array([0.299, 0.587, 0.114])  # of red, green and blue, ITU-R BT.601
_ROWS, _COLUMNS = 8, 9
_BATCH = 256


def difference_hashes(images):
    """Returns the difference hash of each image: whether its grey rises from place to place along the rows.

    The image is averaged into 8 x 9 areas; each of the 64 bits says whether an area is darker than its right
    neighbour. Another size, encoding, brightness or contrast changes few bits.

    Args:
        images: uint8 array (n, height, width, 1 or 3), or `ImageFiles`, which are read a few hundred at a time.

    Returns:
        uint64 array (n,).

    Raises:
        ValueError: if it is no such array, or a file is unreadable.

    Reference: N. Krawetz, "Kind of Like That", The Hacker Factor Blog, 2013.
    """
    if isinstance(images, np.ndarray) and images.ndim != 4:
        raise ValueError(f"Expected `images` of shape (n, height, width, channels); received {images.shape}.")
    parts = [_hashed(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def near_duplicates(images, others=None, distance=4):
    """Finds pairs of images that are the same but for their size, encoding, brightness or contrast.

    A pair's difference hashes (see `difference_hashes`) differ in at most `distance` of 64 bits. Images with hardly
    anything in them, such as a small sign on white, are alike by this measure: look at the pairs.

    Args:
        images: uint8 array (n, height, width, 1 or 3), `ImageFiles`, or their hashes, uint64 (n,).
        others: the same for a second set, such as the test; None finds pairs within the first.
        distance: int, the largest number of bits in which a pair differs, 0 to 64.

    Returns:
        int array (pairs, 2): the place in `images`, and the place in `others` or the later one in `images`; sorted.

    Raises:
        ValueError: if the images are no such array, or a file is unreadable.

    Example:

    ```python
    pairs = kt.datasets.near_duplicates(train_files, test_files)
    for here, there in pairs[:5]:
        print(train_files.paths[here], test_files.paths[there])
    ```
    """
    check_integer(distance, "distance", 0)
    first = _as_hashes(images)
    second = first if others is None else _as_hashes(others)
    pairs = [np.zeros((0, 2), int)]
    for start in range(0, len(first), _BATCH):
        differing = np.bitwise_count(first[start : start + _BATCH, None] ^ second[None])
        here, there = np.nonzero(differing <= distance)
        here += start
        kept = slice(None) if others is not None else here < there
        pairs.append(np.stack([here[kept], there[kept]], axis=1))
    return np.concatenate(pairs)


def _as_hashes(images):
    hashes = isinstance(images, np.ndarray) and images.dtype == np.uint64 and images.ndim == 1
    return images if hashes else difference_hashes(images)


def _hashed(images):
    grey = images[..., 0] if images.shape[-1] == 1 else images @ _GREY
    small = _areas(_areas(grey.astype(np.float64), _ROWS, 1), _COLUMNS, 2)
    bits = (small[:, :, 1:] > small[:, :, :-1]).reshape(len(images), -1)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def _areas(values, number, axis):
    """Averages an axis into so many areas of equal size, pixels on a border by their shares."""
    length = values.shape[axis]
    sums = np.cumsum(values, axis)
    sums = np.concatenate([np.zeros_like(np.take(sums, [0], axis)), sums], axis)
    borders = np.arange(number + 1) * length / number
    below = np.minimum(borders.astype(int), length - 1)
    share = (borders - below).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    at = np.take(sums, below, axis) * (1 - share) + np.take(sums, below + 1, axis) * share
    return np.diff(at, axis=axis) * number / length
