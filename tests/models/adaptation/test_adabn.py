import keras
import numpy as np
import pytest

import keras_transfer as kt


def test_statistics_are_those_of_the_target_in_a_copy():
    rng = np.random.default_rng(0)
    norm = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((3,)), norm, keras.layers.Dense(2)])
    x = rng.normal(3.0, 2.0, size=(128, 3)).astype("float32")
    adapted = kt.models.adabn(model, x, batch_size=64)
    found = next(layer for layer in adapted.layers if isinstance(layer, keras.layers.BatchNormalization))
    np.testing.assert_allclose(found.moving_mean, x.mean(0), rtol=1e-4)
    np.testing.assert_array_equal(norm.moving_mean, np.zeros(3))
    for old, new in zip(model.layers[-1].get_weights(), adapted.layers[-1].get_weights()):
        np.testing.assert_array_equal(new, old)


def test_a_method_can_be_adapted():
    encoder = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization()])
    model = kt.models.TargetTerms(encoder, keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    model.build((None, 3))
    x = np.random.default_rng(0).normal(2.0, size=(64, 3)).astype("float32")
    adapted = kt.models.adabn(model, x)
    assert isinstance(adapted, kt.models.TargetTerms) and np.abs(adapted(x) - model(x)).max() > 0.1


def test_without_batch_norm_there_is_nothing_to_adapt():
    with pytest.raises(ValueError, match="Expected BatchNormalization that moves"):
        kt.models.adabn(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), np.zeros((4, 3), "float32"))
