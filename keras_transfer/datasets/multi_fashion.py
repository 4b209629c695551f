"""Two garments in one image, a task each: MultiFashion."""

from typing import NamedTuple

import keras
import numpy as np

from keras_transfer.datasets.files import check_split


class MultiFashion(NamedTuple):
    """Images of two garments that overlap, and what they are.

    Args:
        images: uint8 (n, 36, 36, 1).
        left: int32 (n,), 0-9, the garment at the top left.
        right: int32 (n,), 0-9, the garment at the bottom right.
    """

    images: np.ndarray
    left: np.ndarray
    right: np.ndarray


def multi_fashion(split="train", seed=0):
    """Lays each image of Fashion-MNIST over another one: 60,000 train and 10,000 test images with two labels each.

    The recipe of MultiMNIST: one of 28 x 28 pixels at the top left of 36 x 36, a random other one of the same split at
    the bottom right, the brighter pixel where they overlap. Every image is once at the left and once at the right.
    There are many such data sets, on which numbers differ by points: compare within one alone. This one is not scaled
    back to 28 x 28.

    Args:
        split: `"train"` or `"test"`. `keras.datasets.fashion_mnist` downloads both once (30 MB).
        seed: Seed of the pairs.

    Returns:
        A `MultiFashion` of images and labels.

    Raises:
        ValueError: If the split is unknown.

    Reference: S. Sabour, N. Frosst, G. Hinton, "Dynamic Routing Between Capsules", NeurIPS 2017, arXiv:1710.09829,
    for MultiMNIST; X. Lin et al., "Pareto Multi-Task Learning", NeurIPS 2019, arXiv:1912.12854, for garments.
    """
    check_split(split)
    images, labels = keras.datasets.fashion_mnist.load_data()[("train", "test").index(split)]
    other = np.random.default_rng([seed, split == "test"]).permutation(len(images))
    canvas = np.zeros((len(images), 36, 36, 1), np.uint8)
    canvas[:, :28, :28, 0] = images
    np.maximum(canvas[:, 8:, 8:, 0], images[other], out=canvas[:, 8:, 8:, 0])
    labels = labels.astype(np.int32)
    return MultiFashion(canvas, labels, labels[other])
