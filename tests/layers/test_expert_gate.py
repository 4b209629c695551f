import keras
import numpy as np
from keras import ops

import keras_transfer as kt
from tests.gradients import gradient

rng = np.random.default_rng(0)
x = rng.normal(size=(6, 4)).astype("float32")
outputs = [rng.normal(size=(6, 5)).astype("float32") for _ in range(3)]


def test_softmax_mixes_the_experts():
    gate = kt.layers.ExpertGate(3)
    y = ops.convert_to_numpy(gate(x, outputs))
    (kernel,) = gate.get_weights()
    odds = np.exp(x @ kernel)
    expected = sum(odds[:, [e]] * outputs[e] for e in range(3)) / odds.sum(1, keepdims=True)
    np.testing.assert_allclose(y, expected, atol=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(gate))
    again(x, outputs)
    again.set_weights([kernel])
    np.testing.assert_allclose(ops.convert_to_numpy(again(x, outputs)), y)


def test_float16_has_finite_gradients():
    gate = kt.layers.ExpertGate(3, dtype="mixed_float16")
    found = gradient(lambda v: ops.mean(ops.cast(gate(v, outputs), "float32")), x)
    assert np.isfinite(found).all() and np.abs(found).max() > 0
