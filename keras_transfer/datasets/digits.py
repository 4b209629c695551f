"""scikit-learn's handwritten digits, alone and on photographs."""

import numpy as np

from keras_transfer.datasets.images import blend_into_photos, resize


def _sklearn_datasets():
    try:
        import sklearn.datasets
    except ImportError as error:
        raise ImportError("The digits ship with scikit-learn: pip install 'keras_transfer[recipes]'") from error
    return sklearn.datasets


def digits(image_size=None):
    """Loads the 1,797 handwritten digits that ship with scikit-learn.

    They were written by 43 people and reduced to 8 x 8 pixels of 17 grey levels, which are scaled to 0-255 here.

    Args:
        image_size: Side of the images in pixels, or a pair (height, width), bilinearly resized. By default the original
            8.

    Returns:
        Tuple of images, uint8 (1797, height, width, 1), ink 255 on 0, and labels, int32 (1797,), 0-9.

    Reference: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
    1998 (its test set).
    """
    data = _sklearn_datasets().load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[..., None]
    return resize(images, image_size), data.target.astype(np.int32)


def digits_on_photos(image_size=28, seed=0):
    """Loads the digits of `digits`, blended into random patches of the two photographs that ship with scikit-learn.

    The blend is the absolute difference of patch and digit, in each colour: the recipe of MNIST-M.

    Args:
        image_size: Side of the images in pixels, at most 427.
        seed: Seed of the patches' places.

    Returns:
        Tuple of images, uint8 (1797, image_size, image_size, 3), 0-255, and labels, int32 (1797,), 0-9.

    Reference: Y. Ganin, V. Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", ICML 2015,
    arXiv:1409.7495.
    """
    photos = _sklearn_datasets().load_sample_images().images
    if not isinstance(image_size, int) or image_size > 427:
        raise ValueError(f"Expected `image_size` to be at most 427, the photographs' height; received {image_size!r}.")
    images, labels = digits(image_size)
    return blend_into_photos(images, photos, seed), labels
