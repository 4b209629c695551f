import numpy as np
import pytest
from keras import ops

import keras_transfer as kt

x = np.random.default_rng(0).normal(size=(4, 3, 2, 5)).astype("float32")


def test_contract():
    kt.testing.check_layer(kt.layers.CrossStitchUnit(0.8), x)


def test_towers_begin_mostly_with_their_own():
    layer = kt.layers.CrossStitchUnit(0.9)
    others = (x.sum(1, keepdims=True) - x) / 2
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x)), 0.9 * x + 0.1 * others, atol=1e-6)


def test_mixtures_by_hand():
    layer = kt.layers.CrossStitchUnit()
    layer.build(x.shape)
    mixture = np.random.default_rng(1).normal(size=(3, 3, 5))
    layer.set_weights([mixture])
    y = ops.convert_to_numpy(layer(x))
    for i in range(3):
        expected = sum(mixture[i, j] * x[:, j] for j in range(3))
        np.testing.assert_allclose(y[:, i], expected, atol=1e-5)


def test_one_tower_is_an_error():
    with pytest.raises(ValueError, match=r"at least 2 towers.*received \(4, 1, 5\)"):
        kt.layers.CrossStitchUnit()(x[:, :1, 0])
