import keras
import numpy as np
import pytest

from keras_transfer.finetuning import split

rng = np.random.default_rng(0)
X = rng.normal(size=(5, 6)).astype("float32")


def network(layers=4):
    dense = [keras.layers.Dense(3 + number, activation="tanh", name=f"dense_{number}") for number in range(layers)]
    return keras.Sequential([keras.Input((6,)), *dense])


@pytest.mark.parametrize("depth, trained", [(0.25, 1), (0.5, 2), (0.7, 3), (0.01, 1)])
def test_the_parts_are_the_encoder(depth, trained):
    encoder = network()
    lower, upper = split(encoder, depth)
    np.testing.assert_allclose(upper(lower(X)), encoder(X), atol=1e-6)
    assert [layer.name for layer in upper.layers if layer.weights] == [f"dense_{n}" for n in range(4 - trained, 4)]
    upper.layers[-1].kernel.assign(np.zeros((5, 6)))  # a weight of both
    np.testing.assert_array_equal(encoder(X), np.zeros((5, 6)))


def test_a_depth_of_one_is_the_whole():
    encoder = network()
    assert split(encoder, 1.0) == (None, encoder)


def test_no_cut_goes_through_a_shortcut():
    """Around two of four layers goes a second tensor: the cut is below both, or above them."""
    x = inputs = keras.Input((6,))
    first = keras.layers.Dense(6, name="first")(x)
    x = keras.layers.Dense(6, name="second")(first)
    x = keras.layers.Dense(6, name="third")(x) + first
    encoder = keras.Model(inputs, keras.layers.Dense(2, name="fourth")(x))
    for depth in (0.5, 0.75):  # "third" alone cannot be cut off
        lower, upper = split(encoder, depth)
        assert {"second", "third", "fourth"} <= {layer.name for layer in upper.layers}
        np.testing.assert_allclose(upper(lower(X)), encoder(X), atol=1e-6)


def test_what_keras_cannot_look_into_is_whole():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = keras.layers.Dense(3), keras.layers.Dense(2)

        def call(self, x):
            return self.two(self.one(x))

    own = Own()
    own(X)
    assert split(own, 0.5) == (None, own)


def test_depth_out_of_range_is_refused():
    with pytest.raises(ValueError, match="`depth` to be .* above 0"):
        split(network(), 0.0)
