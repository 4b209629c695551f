import keras
import numpy as np
from keras import layers, ops

import keras_transfer as kt
from tests.contract import compiled, episode_batch

rng = np.random.default_rng(0)


def test_head_adapts_by_hand():
    """Least squares on the encoder's features: h - rate * 2/n F^T (F h - t), twice."""
    encoder = keras.Sequential([keras.Input((8,)), layers.Dense(4, activation="tanh")])
    head = keras.Sequential([keras.Input((4,)), layers.Dense(1, use_bias=False)])
    model = kt.models.ANIL(encoder, head, steps=2, rate=0.3)
    model.compile("sgd", "mse", run_eagerly=True)
    (x, _), _ = episode_batch()
    support, query = x["support"][0], x["query"]
    targets = rng.normal(size=(*support.shape[:2], 1)).astype("float32")
    got = ops.convert_to_numpy(model({"support": (support, targets), "query": query})["prediction"])
    for e in range(len(support)):
        f, h = encoder.predict(support[e], verbose=0), head.get_weights()[0]
        for _ in range(2):
            h = h - 0.3 * 2 / len(f) * f.T @ (f @ h - targets[e])
        np.testing.assert_allclose(got[e], encoder.predict(query[e], verbose=0) @ h, atol=1e-5)


def test_learns_features_that_a_head_can_use():
    """Classes are told apart by one of 8 inputs; the others are louder noise."""

    def tasks(number):
        batch = []
        for shots in (2, 5):
            labels = np.stack([rng.permutation(np.repeat(np.arange(3), shots)) for _ in range(number)])
            x = rng.normal(0, 3, (*labels.shape, 8))
            x[..., 0] = 3.0 * (labels - 1) + rng.normal(0, 0.3, labels.shape)
            batch.append((x.astype("float32"), labels))
        (support, labels), (query, answers) = batch
        return {"support": (support, labels), "query": query}, answers

    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras.Input((8,)), layers.Dense(4)])
    head = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    model = compiled(kt.models.ANIL(encoder, head, steps=3, rate=0.05), keras.optimizers.Adam(0.02))
    new = tasks(200)
    before = model.evaluate(*new, verbose=0, return_dict=True)["accuracy"]
    for _ in range(60):
        model.train_on_batch(*tasks(16))
    after = model.evaluate(*new, verbose=0, return_dict=True)["accuracy"]
    assert before < 0.7 and after > before + 0.2
