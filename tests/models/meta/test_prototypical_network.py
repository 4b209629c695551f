import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.contract import METHODS, compiled, episode_batch

rng = np.random.default_rng(0)


def test_prediction_against_the_paper():
    """p(y = k | q) = softmax over k of -||f(q) - c_k||^2, written with loops; columns without a class have no share."""
    model = METHODS["PrototypicalNetwork"].make()
    (x, _), _ = episode_batch(shots=2)
    (support, labels), query = x["support"], x["query"]
    got = keras.ops.convert_to_numpy(keras.ops.softmax(model(x)["prediction"]))
    for e in range(len(query)):
        s, q = model.encoder.predict(support[e], verbose=0), model.encoder.predict(query[e], verbose=0)
        centres = [s[labels[e] == k].mean(0) for k in range(3)]
        for i, feature in enumerate(q):
            odds = np.exp([-((feature - centre) ** 2).sum() for centre in centres])
            np.testing.assert_allclose(got[e, i, :3], odds / odds.sum(), rtol=1e-4)
    assert got.shape[-1] == 6 and not got[..., 3:].any()


def test_beats_its_untrained_self_on_new_classes():
    """Classes are told apart by one of 8 inputs; the others are louder noise, which training learns to ignore."""

    def draw(labels):
        x = rng.normal(0, 3, (len(labels), 8))
        x[:, 0] = 1.5 * labels + rng.normal(0, 0.3, len(labels))
        return x.astype("float32")

    train, test = np.repeat(np.arange(20), 30), np.repeat(np.arange(20, 30), 30)
    keras.utils.set_random_seed(0)
    model = compiled(
        kt.models.PrototypicalNetwork(keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])),
        keras.optimizers.Adam(0.03),
    )
    new = kt.streams.episodes(draw(test), test, ways=5, shots=1, queries=5, batches=200, new_each_pass=False, seed=1)
    before = model.evaluate(new, verbose=0, return_dict=True)["accuracy"]
    model.fit(kt.streams.episodes(draw(train), train, ways=10, shots=1, queries=5, seed=0), epochs=3, verbose=0)
    after = model.evaluate(new, verbose=0, return_dict=True)["accuracy"]
    assert before < 0.4 and after > before + 0.3


def test_answers_do_not_depend_on_other_queries():
    """BatchNormalization trains on the batch and serves its averages."""
    encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.BatchNormalization()])
    model = compiled(kt.models.PrototypicalNetwork(encoder), run_eagerly=True)
    (x, y), _ = episode_batch()
    statistics = encoder.layers[-1].moving_mean.numpy()
    model.train_on_batch(x, y)
    assert not np.array_equal(encoder.layers[-1].moving_mean.numpy(), statistics)
    whole = model.predict(x, verbose=0)["prediction"]
    part = model.predict({**x, "query": x["query"][:, :1]}, verbose=0)["prediction"]
    np.testing.assert_allclose(part, whole[:, :1], rtol=1e-4, atol=1e-5)


def test_calibration():
    """The distance below which 80 % of the queries of known classes lie."""
    model = METHODS["PrototypicalNetwork"].make()
    batches = [episode_batch(seed=seed)[0] for seed in range(5)]
    stream = [(x, y) for x, y in batches]
    distance = model.calibrate(stream, known=0.8)
    nearest = np.concatenate([-model.predict(x, verbose=0)["prediction"].max(-1).ravel() for x, _ in stream])
    np.testing.assert_allclose((nearest <= distance).mean(), 0.8, atol=0.01)
    with pytest.raises(ValueError, match="`known` to be a finite number above 0 and below 1; received 95"):
        model.calibrate(stream, known=95)
    with pytest.raises(ValueError, match="at least one episode"):
        model.calibrate([])


def test_simple_shot_against_the_paper():
    base, images = rng.normal(2.0, 1.0, (50, 8)), rng.normal(2.0, 1.0, (9, 8)).astype("float32")
    encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
    model = kt.models.simple_shot(encoder, encoder.predict(base, verbose=0))
    features = encoder.predict(images, verbose=0) - encoder.predict(base, verbose=0).mean(0)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(images, verbose=0), features, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match=r"features .rows, dim. of at least 1 row; received shape \(3, 4, 5\)"):
        kt.models.simple_shot(encoder, np.zeros((3, 4, 5)))


def test_training_on_plain_batches_is_refused():
    model = METHODS["PrototypicalNetwork"].make()
    with pytest.raises(ValueError, match="dict with the streams .'support', 'query'.; received plain input"):
        model.fit(np.zeros((4, 8), "float32"), np.zeros(4), verbose=0)
