import sys

import numpy as np
import pytest
import sklearn.datasets

from keras_transfer.datasets import digits, digits_on_photos


def test_digits_are_those_of_scikit_learn():
    images, labels = digits()
    data = sklearn.datasets.load_digits()
    assert images.shape == (1797, 8, 8, 1) and images.dtype == np.uint8 and labels.dtype == np.int32
    assert images.min() == 0 and images.max() == 255
    np.testing.assert_array_equal(np.rint(images[..., 0] * (16 / 255)), data.images)
    np.testing.assert_array_equal(labels, data.target)


def test_digits_enlarged():
    images, _ = digits(32)
    assert images.shape == (1797, 32, 32, 1) and images.dtype == np.uint8
    small = digits()[0].astype(float)
    averaged = images.reshape(1797, 8, 4, 8, 4).mean((2, 4))
    assert np.corrcoef(averaged.ravel(), small.ravel())[0, 1] > 0.95


def test_digits_on_photos():
    images, labels = digits_on_photos(seed=3)
    assert images.shape == (1797, 28, 28, 3) and images.dtype == np.uint8 and labels.dtype == np.int32
    np.testing.assert_array_equal(labels, digits()[1])
    np.testing.assert_array_equal(images, digits_on_photos(seed=3)[0])
    assert (images != digits_on_photos(seed=4)[0]).any()
    blank = digits(28)[0][..., 0] == 0  # where there is no ink, the photograph is as it was
    colours = [pixels.astype(int) @ [1 << 16, 1 << 8, 1] for pixels in sklearn.datasets.load_sample_images().images]
    assert np.isin(images[blank].astype(int) @ [1 << 16, 1 << 8, 1], np.unique(colours)).all()
    with pytest.raises(ValueError, match="`image_size` to be at most 427.*; received 500"):
        digits_on_photos(500)


def test_missing_scikit_learn_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'keras_transfer\[recipes\]'"):
        digits()
