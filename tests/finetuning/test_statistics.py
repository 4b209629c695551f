import keras
import numpy as np
import pytest

from keras_transfer.finetuning import freeze_batch_norm, reestimate_batch_norm

rng = np.random.default_rng(0)
X = rng.normal(3.0, 2.0, size=(64, 5)).astype("float32")


def network(momentum=0.99):
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((5,)), layers.Dense(4), layers.BatchNormalization(momentum=momentum), layers.Dense(2)]
    )


@pytest.mark.parametrize("momentum", [0.5, 0.99])
def test_statistics_are_those_of_the_rows(momentum):
    model = network(momentum)
    hidden = X @ model.layers[0].kernel.numpy()
    before = model.get_weights()
    reestimate_batch_norm(model, X, batch_size=64)
    np.testing.assert_allclose(model.layers[1].moving_mean.numpy(), hidden.mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model.layers[1].moving_variance.numpy(), hidden.var(0), rtol=1e-3)
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights())]
    assert moved == [False, False, False, False, True, True, False, False]


def test_batches_are_averaged_and_a_rest_is_left_out():
    model = network()
    order = np.random.default_rng(7).permutation(64)
    hidden = X[order] @ model.layers[0].kernel.numpy()
    reestimate_batch_norm(model, X, batch_size=24, seed=7)
    expected = np.mean([hidden[:24].var(0), hidden[24:48].var(0)], axis=0)
    np.testing.assert_allclose(model.layers[1].moving_variance.numpy(), expected, rtol=1e-3)


def test_frozen_statistics_stay_bit_for_bit():
    frozen, free = network(), keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])
    model = keras.Sequential([frozen, free])
    freeze_batch_norm(frozen)
    before = frozen.get_weights()
    reestimate_batch_norm(model, X)
    for old, new in zip(before, frozen.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert not np.allclose(free.layers[0].moving_mean.numpy(), 0)


def test_dropout_before_it_makes_no_other_statistics():
    """Each pass drops others: the mean over many batches is that of the rows, whatever the momentum."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    norm = layers.BatchNormalization(momentum=0.99)
    model = keras.Sequential([keras.Input((5,)), layers.Dropout(0.5), norm])
    x = np.tile(X, (50, 1))
    reestimate_batch_norm(model, x, batch_size=64)
    np.testing.assert_allclose(norm.moving_mean, x.mean(0), rtol=0.05)
    np.testing.assert_allclose(norm.moving_variance, 2 * (x**2).mean(0) - x.mean(0) ** 2, rtol=0.08)


def test_what_is_frozen_goes_on_normalising():
    """Statistics behind a frozen layer are those of what it makes of the rows with its own ones."""
    frozen, norm = keras.layers.BatchNormalization(), keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((5,)), frozen, norm])
    frozen.moving_mean.assign(np.full(5, 2.0))
    frozen.moving_variance.assign(np.full(5, 9.0))
    frozen.trainable = False
    reestimate_batch_norm(model, X)
    hidden = (X - 2) / np.sqrt(9 + frozen.epsilon)
    np.testing.assert_allclose(norm.moving_mean, hidden.mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, hidden.var(0), rtol=1e-3)


def test_bad_input():
    model = network()
    with pytest.raises(ValueError, match="at least one row"):
        reestimate_batch_norm(model, X[:0])
    freeze_batch_norm(model)
    before = model.get_weights()
    with pytest.raises(ValueError, match="received 1 layers of it, frozen"):
        reestimate_batch_norm(model, X)
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)
