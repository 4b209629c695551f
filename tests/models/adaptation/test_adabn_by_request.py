import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_transfer as kt

layers = keras.layers


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    first = [keras.Input((3,)), layers.Dense(8), layers.BatchNormalization(), layers.Dropout(0.5), layers.ReLU()]
    model = keras.Sequential([*first, layers.Dense(4)])
    x = np.random.default_rng(0).normal(size=(256, 3)).astype("float32")
    kt.finetuning.reestimate_batch_norm(model, x)
    return model


def rows(shift=0.0, number=40):
    return np.random.default_rng(1).normal(shift, 2.0, size=(number, 3)).astype("float32")


def test_answers_by_the_requests_own_statistics(network, tmp_path):
    """In NumPy: the hidden values of a request have mean 0 and variance 1, whatever was seen before."""
    names, before = list("abcd"), network.get_weights()
    model = kt.models.adabn_by_request(network)
    np.testing.assert_array_equal(model.predict(rows(), verbose=0), network.predict(rows(), verbose=0))
    version = kt.export(model, tmp_path / "model", rows(), classes=names)
    served = tf.saved_model.load(version).signatures
    x = rows(3.0)
    kernel, bias, gamma, beta, *_, last, last_bias = (w.astype("float64") for w in network.get_weights()
                                                      if w.dtype == "float32")  # fmt: skip
    hidden = x @ kernel + bias
    hidden = gamma * (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-3) + beta
    expected = np.maximum(hidden, 0) @ last + last_bias
    found = served["adapt_and_predict"](images=tf.constant(x))
    np.testing.assert_allclose(found["logits"], expected, rtol=1e-3, atol=1e-4)
    plain = served["serving_default"](images=tf.constant(x))["logits"]
    np.testing.assert_allclose(plain, network.predict(x, verbose=0), rtol=1e-4, atol=1e-4)
    assert np.abs(plain - expected).max() > 0.5
    for old, now in zip(before, network.get_weights()):
        np.testing.assert_array_equal(now, old)


def test_is_saved_and_loaded(network, tmp_path):
    model = kt.models.adabn_by_request(network)
    model(rows())
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(rows(), verbose=0), model.predict(rows(), verbose=0))
    assert set(again.signatures(rows())) == {"serving_default", "adapt_and_predict"}


def test_what_is_frozen_would_not_adapt():
    """Keras runs it in inference mode: the signature would answer as `serving_default` does, without a word."""
    model = keras.Sequential([keras.Input((3,)), layers.Dense(8), layers.BatchNormalization(), layers.Dense(4)])
    model.trainable = False
    with pytest.raises(ValueError, match="BatchNormalization that is not frozen; .* which has 1 layers of it, frozen"):
        kt.models.adabn_by_request(model)


def test_without_batch_normalization():
    with pytest.raises(ValueError, match="Expected a network with BatchNormalization"):
        kt.models.adabn_by_request(keras.Sequential([keras.Input((3,)), layers.Dense(4)]))
    with pytest.raises(ValueError, match="Expected a built network"):
        kt.models.adabn_by_request(keras.Sequential([layers.BatchNormalization()]))
