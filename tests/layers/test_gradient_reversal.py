import keras
import numpy as np
import pytest
from keras import ops

import keras_transfer as kt
from tests.gradients import gradient

x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
slopes = np.arange(24, dtype="float32").reshape(6, 4)  # of the function above the layer


def gradient_below(layer, **call):
    return gradient(lambda v: ops.sum(slopes * layer(v, **call)), x)


def test_contract():
    kt.testing.check_layer(kt.layers.GradientReversal(strength=0.5), x)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 1000.0])
def test_forward_is_the_identity_to_the_last_bit(dtype, strength):
    largest = np.finfo(dtype).max
    values = np.concatenate([x.ravel(), [0.0, largest, -largest, np.finfo(dtype).tiny, 1 / 3]]).astype(dtype)
    y = kt.layers.GradientReversal(strength, dtype=dtype)(values)
    assert keras.backend.standardize_dtype(y.dtype) == dtype
    np.testing.assert_array_equal(ops.convert_to_numpy(y), values)


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0, 3.0])
def test_gradient_is_multiplied_by_minus_strength(strength):
    np.testing.assert_allclose(gradient_below(kt.layers.GradientReversal(strength)), -strength * slopes)


def test_call_argument_takes_the_place_of_the_layer_s_own_strength():
    layer = kt.layers.GradientReversal(strength=5.0)
    np.testing.assert_allclose(gradient_below(layer, strength=0.5), -0.5 * slopes)
    np.testing.assert_allclose(gradient_below(layer, strength=0.0), 0.0 * slopes)
    np.testing.assert_allclose(gradient_below(layer), -5.0 * slopes)


def test_value_of_a_schedule():
    ramp = kt.schedules.LinearRamp(steps=10)
    np.testing.assert_allclose(gradient_below(kt.layers.GradientReversal(), strength=ramp(5)), -0.5 * slopes)


def test_compiled_by_xla():
    layer = kt.layers.GradientReversal(0.5)
    model = keras.Sequential([keras.Input((4,)), layer])
    model.compile(jit_compile=True)
    np.testing.assert_array_equal(model.predict(x, verbose=0), x)
    below = gradient(lambda v: ops.sum(ops.square(layer(v))), x, jit=True)
    np.testing.assert_allclose(below, -0.5 * 2 * x, rtol=1e-6)


def test_has_no_variables():
    layer = kt.layers.GradientReversal()
    layer(x)
    assert layer.variables == []


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="SavedModels are written by TensorFlow")
def test_reversal_survives_in_an_export(tmp_path):
    import tensorflow as tf

    model = keras.Sequential([keras.Input((4,)), kt.layers.GradientReversal(0.5), keras.layers.Dense(3)])
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.serve(x), model.predict(x, verbose=0), atol=1e-6)
    assert {tuple(v.shape) for v in loaded.variables} == {(4, 3), (3,)}
    kernel = model.layers[-1].kernel.numpy()
    below = gradient(lambda v: ops.sum(loaded.serve(v)), x)
    np.testing.assert_allclose(below, np.tile(-0.5 * kernel.sum(axis=1), (6, 1)), rtol=1e-5)
