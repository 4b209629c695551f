import keras
import numpy as np
import pytest

from keras_transfer.datasets import multi_fashion


@pytest.fixture
def garments(monkeypatch):
    """Ten images for each split, in the shapes of Fashion-MNIST."""
    rng = np.random.default_rng(0)
    splits = [
        (rng.integers(0, 256, (10, 28, 28)).astype("uint8"), rng.integers(0, 10, 10).astype("uint8")) for _ in range(2)
    ]
    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", lambda: splits)
    return dict(zip(("train", "test"), splits))


@pytest.mark.parametrize("split", ["train", "test"])
def test_each_image_lies_over_another(garments, split):
    single, labels = garments[split]
    images, left, right = multi_fashion(split)
    assert images.shape == (10, 36, 36, 1) and images.dtype == np.uint8 and left.dtype == right.dtype == np.int32
    np.testing.assert_array_equal(left, labels)
    np.testing.assert_array_equal(images[:, :8, :28, 0], single[:, :8])  # where one alone is
    corners = images[:, 28:, 8:, 0]
    partners = [int(np.flatnonzero((single[:, 20:] == corner).all((1, 2)))[0]) for corner in corners]
    assert sorted(partners) == list(range(10))
    np.testing.assert_array_equal(right, labels[partners])
    for image, first, second in zip(images[..., 0], single, single[partners]):
        np.testing.assert_array_equal(image[8:28, 8:28], np.maximum(first[8:, 8:], second[:20, :20]))
        assert not image[:8, 28:].any() and not image[28:, :8].any()


def test_pairs_follow_from_the_seed(garments):
    first, again, other = (multi_fashion(seed=seed).images for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_unknown_split():
    with pytest.raises(ValueError, match="received 'valid'"):
        multi_fashion("valid")


def test_real_garments(data_folder, run_python):
    if not (data_folder / "keras_home/datasets/fashion-mnist").is_dir():
        pytest.skip("Fashion-MNIST is not in KERAS_TRANSFER_DATA")
    code = (
        "import numpy as np; from keras_transfer.datasets import multi_fashion as data; x, left, right = data('test'); "
        "print(x.shape, *np.bincount(left), *np.bincount(right), 0.08 < np.mean(left == right) < 0.12)"
    )
    printed = run_python("-c", code, KERAS_HOME=str(data_folder / "keras_home"))
    assert printed.splitlines()[-1] == " ".join(["(10000, 36, 36, 1)", *20 * ["1000"], "True"])
