import keras
import numpy as np
from keras import ops

import keras_transfer as kt
from tests.contract import encoder, experts, heads, tasks

(X, _), _ = tasks()


def mixed(features, kernel, outputs):
    odds = np.exp(features @ kernel)
    return sum(odds[:, [e]] * output for e, output in enumerate(outputs)) / odds.sum(1, keepdims=True)


def run(network, x):
    return ops.convert_to_numpy(network(x))


def test_by_hand():
    keras.utils.set_random_seed(0)
    model = kt.models.MixtureOfExperts(encoder(), experts(), heads())
    model.build((None, X.shape[1]))
    found = model.predict(X, verbose=0)
    features = run(model.encoder, X)
    outputs = [run(expert, features) for expert in model.experts]
    for task, head in model.heads.items():
        read = mixed(features, model.gates[task].get_weights()[0], outputs)
        np.testing.assert_allclose(found[task], run(head, read), atol=1e-5)
