"""MNIST; MNIST-M, its digits on photographs; and digits made in the same way: MNIST-M-like."""

import math
import struct

import numpy as np

from keras_transfer.datasets.files import check_split, data_folder, fetch, read_gzip
from keras_transfer.datasets.images import blend_into_photos, height_and_width, read_photo, read_photos

_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
_BSDS500 = "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz"
_BSDS500_MD5 = "0b17383ff0b21fe43d2f28e624203169"


def mnist(split="train"):
    """Loads MNIST: 60,000 train and 10,000 test images of handwritten digits.

    Reads the four `.gz` files of the original release from `$KERAS_TRANSFER_DATA/mnist`; what is missing there is
    downloaded once (11 MB).

    Args:
        split: `"train"` or `"test"` (the files named t10k).

    Returns:
        Tuple of images, uint8 (n, 28, 28, 1), ink 255 on 0, and labels, int32 (n,), 0-9.

    Raises:
        ValueError: If a file is truncated or corrupt.

    Reference: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998.
    """
    check_split(split)
    prefix = "train" if split == "train" else "t10k"
    images, labels = (
        _read_idx(fetch(name, "mnist", _MNIST + name, _MD5[name]), dimensions)
        for name, dimensions in ((f"{prefix}-images-idx3-ubyte.gz", 3), (f"{prefix}-labels-idx1-ubyte.gz", 1))
    )
    if len(images) != len(labels):
        raise ValueError(f"Expected as many MNIST {split} labels as images; received {len(labels)}, {len(images)}.")
    return images[..., None], labels.astype(np.int32)


def _read_idx(path, dimensions):
    """Reads an array of unsigned bytes: a magic number, the length of each dimension (big-endian), the values."""
    data = read_gzip(path)
    magic = int.from_bytes(data[:4])
    if magic != 0x0800 + dimensions:
        raise ValueError(f"Expected {path} to start with the magic number {0x0800 + dimensions}; received {magic}.")
    start = 4 + 4 * dimensions
    shape = struct.unpack_from(f">{dimensions}I", data.ljust(start, b"\0"), 4)
    expected = start + math.prod(shape)
    if len(data) != expected:
        raise ValueError(f"Expected {path} to unpack to {expected} bytes, as it says; received {len(data)}.")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape).copy()


def mnist_m(split="train", image_size=None):
    """Loads MNIST-M: MNIST's digits on patches of photographs; the full release has 59,001 and 9,001 images.

    Reads `$KERAS_TRANSFER_DATA/mnist_m/mnist_m_<split>_labels.txt`, rows of a file's name and a label, and those files
    in `mnist_m_<split>/`. MNIST-M is not downloaded: there is no lasting address. Its test images are made of MNIST's
    test digits, and those of training of its training digits.

    Args:
        split: `"train"` or `"test"`.
        image_size: Side of the images in pixels, or a pair (height, width), bilinearly resized. By default the original
            32.

    Returns:
        Tuple of images, uint8 (n, height, width, 3), 0-255, and labels, int32 (n,), 0-9.

    Raises:
        ValueError: If the list or a file in it is missing or unreadable, or a label is none.
        ImportError: If Pillow is missing.

    Reference: Y. Ganin, V. Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", ICML 2015, arXiv:1409.7495.
    """
    check_split(split)
    folder = data_folder("mnist_m")
    rows = None if folder is None else folder / f"mnist_m_{split}_labels.txt"
    if rows is None or not rows.is_file():
        found = "no such variable" if folder is None else f"no file {rows}"
        raise ValueError(
            f"Expected MNIST-M in the folder that KERAS_TRANSFER_DATA names, as mnist_m/mnist_m_{split}_labels.txt and "
            f"mnist_m/mnist_m_{split}/*.png; received {found}. It is not downloaded: get it from its authors."
        )
    listed = [line.split() for line in rows.read_text().splitlines() if line.strip()]
    if not listed:
        raise ValueError(f"Expected at least one file and its label in {rows}; received none.")
    for number, row in enumerate(listed):
        if len(row) != 2 or row[1] not in tuple("0123456789"):
            raise ValueError(f"Expected rows of a file and a label 0-9 in {rows}; received {row} in row {number}.")
    size = height_and_width(32 if image_size is None else image_size)
    paths = [folder / f"mnist_m_{split}" / name for name, _ in listed]
    images = np.stack([read_photo(path, str(path), size=size) for path in paths])
    return images, np.array([label for _, label in listed], np.int32)


def mnist_m_like(split="train", photos=None, seed=0):
    """Loads MNIST's digits, blended into random patches of photographs: MNIST-M-like.

    The blend is the absolute difference of patch and digit, in each colour: the recipe of MNIST-M. Patches differ from
    those of the published MNIST-M, so numbers measured here are not numbers on MNIST-M.

    Args:
        split: `"train"` or `"test"`, of MNIST; both draw on the same photographs.
        photos: Folder of photographs, of the formats of `image_folder`. By default
            `$KERAS_TRANSFER_DATA/bsds500_train`, or where that is missing, the 200 train images of BSDS500, downloaded
            once (71 MB).
        seed: Seed of the patches' places; the two splits differ in theirs.

    Returns:
        Tuple of images, uint8 (n, 28, 28, 3), 0-255, and labels, int32 (n,), 0-9.

    Raises:
        ValueError: If a file is truncated or corrupt, or `photos` holds none.

    Reference: Y. Ganin, V. Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", ICML 2015,
    arXiv:1409.7495; photographs: P. Arbelaez et al., "Contour Detection and Hierarchical Image Segmentation",
    PAMI 2011.
    """
    check_split(split)
    if photos is None:
        photos = data_folder("bsds500_train")
        if photos is None or not photos.is_dir():
            photos = fetch("BSR_bsds500.tgz", "bsds500", _BSDS500, _BSDS500_MD5)
    photos = read_photos(photos)
    images, labels = mnist(split)
    return blend_into_photos(images, photos, (seed, int(split == "test"))), labels
