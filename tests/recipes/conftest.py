import functools

import keras
import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.recipes import episodes, finetune_letters, pictures, train_attributes


@pytest.fixture(scope="session", autouse=True)
def sparing():
    """Letters are few, rendered once for all tests of a process, and encoded by few filters; t-SNE's steps are few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(episodes, "EXAMPLES", 40)
        patch.setattr(episodes, "FILTERS", 8)
        patch.setattr(episodes, "TRAINING_SCRIPTS", ("greek",))
        patch.setattr(episodes, "TEST_SCRIPTS", ("georgian",))
        patch.setattr(finetune_letters, "IMAGES", 1000)
        patch.setattr(train_attributes, "TEST", 1000)
        patch.setattr(episodes, "load", functools.cache(episodes.load))
        patch.setattr(pictures, "TSNE_STEPS", 250)
        yield


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of own pictures: three classes of coloured noise."""
    folder = tmp_path_factory.mktemp("photos") / "mine"
    rng = np.random.default_rng(0)
    for number, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir(parents=True)
        for i in range(40):
            image = rng.integers(0, 120, (32, 32, 3))
            image[..., number] += 100
            keras.utils.save_img(folder / name / f"{i}.png", image, scale=False)
    return folder


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory):
    """A folder of class folders, `<letter>/<number>.png`: 12 coloured letters of 32 pixels in each of 4 classes.

    Ink and paper are of any colours, so that the letter alone tells the class. `unlabelled/` beside them has 16 more.
    """
    folder, letters = tmp_path_factory.mktemp("pictures") / "letters", "ABCD"
    rng = np.random.default_rng(0)
    rendered = kt.datasets.glyphs(letters, n=64, image_size=32, jitter=kt.datasets.Jitter(), seed=0)
    for number, (image, label) in enumerate(zip(rendered.images, rendered.labels)):
        paper, ink = rng.integers(160, 256, 3), rng.integers(0, 96, 3)
        coloured = paper + image / 255 * (ink - paper)
        target = folder / (letters[label] if (rendered.labels[:number] == label).sum() < 12 else "unlabelled")
        target.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(target / f"{number:02}.png", coloured, scale=False)
    return folder


@pytest.fixture
def garments(monkeypatch):
    """Fashion-MNIST's shapes, without a download: each class has its own brightness."""
    rng = np.random.default_rng(0)

    def load_data():
        labels = [rng.integers(0, 10, n).astype("uint8") for n in (4000, 1000)]
        images = [(rng.random((len(y), 28, 28)) * 25 * (y + 1)[:, None, None]).astype("uint8") for y in labels]
        return list(zip(images, labels))

    monkeypatch.setattr("keras.datasets.fashion_mnist.load_data", load_data)


@pytest.fixture
def one_rate(monkeypatch):
    """On few labels, one training at one learning rate instead of a choice of two."""
    monkeypatch.setattr("keras_transfer.recipes.few_labels.RATES", (1e-3,))
    monkeypatch.setattr("keras_transfer.recipes.few_labels.FOLDS", 1)
