import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests import oracles

layers = keras.layers


def trained(seed=0):
    """A classifier of three classes that lie apart, and its inputs in another scale and place."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, 768)
    x = (np.array([[0, 2], [2, -1], [-2, -1]])[y] + 0.6 * rng.normal(size=(768, 2))).astype("float32")
    keras.utils.set_random_seed(seed)
    hidden = [layers.Dense(16), layers.BatchNormalization(momentum=0.9), layers.ReLU(), layers.Dropout(0.2)]
    model = keras.Sequential([keras.Input((2,)), keras.Sequential(hidden), layers.Dense(3)])
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, epochs=8, verbose=0)
    return model, x * np.float32([0.5, 0.7]) + 1.5, y


def test_batch_normalization_alone_learns_to_be_sure():
    model, x, y = trained()
    model.layers[1].trainable = False
    before = model.get_weights()
    adapted = kt.models.tent(model, x, epochs=3, learning_rate=0.01)
    normalized = kt.models.adabn(model, x)
    for old, now in zip(before, model.get_weights()):
        np.testing.assert_array_equal(now, old)
    learned = {"gamma", "beta", "moving_mean", "moving_variance"}
    for old, new in zip(model.weights, adapted.weights):
        assert np.array_equal(old.numpy(), new.numpy()) == (new.name not in learned), new.path
    assert adapted.layers[0].trainable and not adapted.layers[1].trainable

    def entropy(network):
        return oracles.entropy(oracles.softmax(network.predict(x, verbose=0).astype("float64"))).mean()

    assert entropy(adapted) < 0.9 * entropy(normalized)
    accuracy = [(network.predict(x, verbose=0).argmax(1) == y).mean() for network in (model, adapted)]
    assert accuracy[1] > accuracy[0] + 0.1


def test_without_batch_normalization_nothing_can_learn():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3)])
    with pytest.raises(ValueError, match="Expected BatchNormalization that learns in .*; received none"):
        kt.models.tent(model, np.zeros((64, 2), "float32"))


@pytest.mark.parametrize("arguments", [{"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0.0}, {"batch_size": 100}])
def test_numbers_out_of_range(arguments):
    model = keras.Sequential([keras.Input((2,)), layers.BatchNormalization(), layers.Dense(3)])
    with pytest.raises(ValueError, match="Expected"):
        kt.models.tent(model, np.zeros((64, 2), "float32"), **arguments)


def test_probabilities_are_no_logits():
    model = keras.Sequential([keras.Input((2,)), layers.BatchNormalization(), layers.Dense(3, "softmax")])
    with pytest.raises(ValueError, match="Expected `model` to return logits"):
        kt.models.tent(model, np.zeros((64, 2), "float32"))
