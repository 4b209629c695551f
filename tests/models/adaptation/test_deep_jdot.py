import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests import oracles
from tests.models.adaptation import toy


def made(outputs=2, loss=None, **arguments):
    encoder = toy.networks()["encoder"]
    head = keras.Sequential([keras.Input((toy.DIM,)), keras.layers.Dense(outputs)])
    model = kt.models.DeepJDOT(encoder, head, **arguments)
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    return model


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_terms_by_hand(kind):
    """Pair by pair: of classes the cross-entropy of a label with a prediction, of numbers the squared error."""
    (x, y), classes = toy.batch(), kind == "classes"
    y = y if classes else x["source"][:, 0]
    model = made(
        2 if classes else 1, None if classes else "mse", feature_weight=0.1, label_weight=0.7, transport_weight=0.3
    )
    outputs = toy.checked_outputs(model, x)
    cost = np.zeros((12, 20))
    for i, j in np.ndindex(*cost.shape):
        answer = outputs["target_prediction"][j]
        wrong = oracles.sparse(y[i : i + 1], answer[None]) if classes else (y[i] - answer[0]) ** 2
        cost[i, j] = 0.1 * ((outputs["source"][i] - outputs["target"][j]) ** 2).sum() + 0.7 * wrong
    task = toy.cross_entropy(y, outputs["prediction"]) if classes else np.mean((y - outputs["prediction"][:, 0]) ** 2)
    logs = model.train_on_batch(x, y, return_dict=True)
    transport = oracles.transport(cost, 0.05)
    np.testing.assert_allclose([logs["task_term"], logs["transport_term"]], [task, transport], rtol=1e-4)
    np.testing.assert_allclose(logs["loss"], task + 0.3 * transport, rtol=1e-4)


def test_a_regression_follows_its_inputs_to_another_range():
    """y = the second of two inputs; the first moves by 6 in the target, and is what the source takes for y."""
    rng = np.random.default_rng(0)

    def draw(shift):
        y = rng.uniform(-1, 1, 512)
        return np.stack([y + shift, y], axis=1).astype("float32"), y.astype("float32")

    (source, y), (target, labels) = draw(0.0), draw(6.0)
    errors = {}
    for weight in (0.0, 1.0):
        keras.utils.set_random_seed(0)
        parts = [
            keras.Sequential([keras.Input((n,)), keras.layers.Dense(k, a)])
            for n, k, a in ((2, 16, "tanh"), (16, 1, None))
        ]
        model = kt.models.DeepJDOT(*parts, transport_weight=weight, feature_weight=0.1)
        model.compile(keras.optimizers.Adam(0.01), "mse")
        model.fit(kt.streams.domains((source, y), target, seed=0), epochs=20, verbose=0)
        errors[weight] = np.mean((np.asarray(model(target))[:, 0] - labels) ** 2)
    assert errors[1.0] < 0.5 * errors[0.0]
