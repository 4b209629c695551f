import types

import keras
import numpy as np

from keras_transfer.recipes import few_labels


def test_draws_as_many_of_each_class():
    labels = np.repeat(np.arange(4), 20)
    few = few_labels.draw(labels, 3, seed=0)
    assert np.bincount(labels[few]).tolist() == [3] * 4 and len(set(few)) == 12
    assert set(few) != set(few_labels.draw(labels, 3, seed=1))


def test_probe_is_chosen_by_the_validation_part():
    """On classes that are apart every penalty is right, in validation and test; on labels that are swapped, wrong."""
    rng = np.random.default_rng(0)
    y = {part: np.arange(40) % 2 for part in ("train", "validation", "test")}
    x = {part: (10.0 * labels[:, None] + rng.normal(size=(40, 3))).astype("float32") for part, labels in y.items()}
    _, found = few_labels.probe_few(x, y, np.arange(10))
    assert found == {"validation": 1.0, "test": 1.0}
    _, found = few_labels.probe_few(x, {**y, "test": 1 - y["test"]}, np.arange(10))
    assert found == {"validation": 1.0, "test": 0.0}


def test_best_of_rates_is_chosen_by_the_validation_part():
    """A rate that answers right in the validation part wins, although it is wrong in the test."""

    def train(rate):
        x = keras.Input((2,))
        return keras.Model(x, x if rate == few_labels.RATES[1] else -x)

    x = {part: np.eye(2, dtype="float32") for part in ("validation", "test")}
    y = {"validation": np.array([0, 1]), "test": np.array([1, 0])}
    assert few_labels.best_of(train, x, y) == {"validation": 1.0, "test": 0.0, "rate": few_labels.RATES[1]}


def test_fine_tuning_is_seeded():
    config = types.SimpleNamespace(steps=2)
    x, y = np.random.default_rng(0).random((8, 4, 4, 1)).astype("float32"), np.arange(8) % 2

    def augmentation(config, shape):
        return keras.Sequential([keras.Input(shape), keras.layers.GaussianNoise(0.1)])

    def trained(seed):
        keras.utils.set_random_seed(0)
        encoder = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
        return few_labels.fit_few(config, encoder, keras.layers.Dense(2), x, y, 0.1, seed, augmentation).get_weights()

    first, again, other = trained(0), trained(0), trained(1)
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])
