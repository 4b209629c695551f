import keras
import numpy as np
from keras import ops

import keras_transfer as kt
from tests.contract import each, heads, stages, tasks

(X, _), _ = tasks()


def test_by_hand():
    keras.utils.set_random_seed(0)
    model = kt.models.CrossStitch(each(stages), heads(), own=0.7)
    model.build((None, X.shape[1]))
    found = model.predict(X, verbose=0)
    read = dict.fromkeys(model.towers, X)
    for depth in range(2):
        one, other = (ops.convert_to_numpy(model.towers[task][depth](read[task])) for task in read)
        read = dict(zip(read, (0.7 * one + 0.3 * other, 0.3 * one + 0.7 * other)))
    for task, value in read.items():
        expected = model.heads[task](model.towers[task][2](value))
        np.testing.assert_allclose(found[task], ops.convert_to_numpy(expected), atol=1e-5)


def test_mixtures_learn():
    model = kt.models.CrossStitch(each(stages), heads())
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    (x, y), _ = tasks()
    model.fit(x, {**y, "half": y["whole"]}, epochs=5, verbose=0)
    mixture = ops.convert_to_numpy(model.units[0].mixture.value)
    assert np.abs(mixture - mixture[..., :1]).max() > 0.001  # channels by themselves
