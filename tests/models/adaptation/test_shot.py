import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests import oracles
from tests.models.adaptation import toy


def made(**arguments):
    networks = toy.networks()
    model = kt.models.SHOT(networks["encoder"], networks["head"], **arguments)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return model


def test_terms_by_hand():
    keras.utils.set_random_seed(0)
    x = toy.batch()[0]["target"]
    model = made(pseudo_weight=0.7, momentum=0.8)
    f, p = model.encoder(x).numpy().astype("float64"), oracles.softmax(model(x).numpy().astype("float64"))
    unit = f / np.linalg.norm(f, axis=1, keepdims=True)
    old = unit[list(np.unravel_index((unit @ unit.T).argmin(), (20, 20)))]  # of rows that are least alike
    model.class_means.assign(old)
    means = 0.8 * old + 0.2 * p.T @ unit / len(x)
    pseudo = (unit @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).argmax(1)
    assert 0 < pseudo.sum() < len(pseudo)
    mean = p.mean(0)
    information = -(p * np.log(p)).sum(1).mean() + (mean * np.log(mean)).sum()
    learned = -np.log(p[np.arange(len(p)), pseudo]).mean()
    logs = model.train_on_batch({"target": x}, return_dict=True)
    np.testing.assert_allclose(logs["information_term"], information, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(logs["pseudo_term"], learned, rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], information + 0.7 * learned, rtol=1e-4)
    np.testing.assert_allclose(model.class_means, means, rtol=1e-4, atol=1e-6)


def test_the_head_stays():
    model = made()
    head, encoder = model.head.get_weights(), model.encoder.get_weights()
    model.fit({"target": toy.batch()[0]["target"]}, epochs=2, verbose=0)
    for old, new in zip(head, model.head.get_weights()):
        np.testing.assert_array_equal(new, old)
    assert any(np.abs(old - new).max() > 0 for old, new in zip(encoder, model.encoder.get_weights()))


def test_from_source_takes_copies_of_what_is_served():
    networks = toy.networks()
    source = kt.models.TargetTerms(networks["encoder"], networks["head"])
    model = kt.models.SHOT.from_source(source, pseudo_weight=0.1)
    x = toy.batch()[0]["target"]
    np.testing.assert_array_equal(model(x), source(x))
    assert model.encoder is not source.encoder and source.head.trainable and not model.head.trainable
    model.compile("sgd", run_eagerly=True)
    before = source(x).numpy()
    model.train_on_batch({"target": x})
    np.testing.assert_array_equal(source(x), before)


def test_without_a_head_there_is_no_source():
    with pytest.raises(ValueError, match="Expected a trained method with an encoder and a head; received Sequential"):
        kt.models.SHOT.from_source(keras.Sequential([keras.layers.Dense(2)]))


def test_networks_that_are_not_built():
    with pytest.raises(ValueError, match="Expected built networks"):
        kt.models.SHOT(keras.Sequential([keras.layers.Dense(4)]), keras.Sequential([keras.layers.Dense(2)]))


def test_labels_are_refused():
    x, _ = toy.batch()
    model = made()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    with pytest.raises(ValueError, match="Expected batches without labels"):
        model.train_on_batch({"target": x["target"]}, np.zeros(20, "int32"))


def test_recovers_a_turn_of_which_the_source_knows_nothing():
    """Classes that lie apart, turned so that the trained classifier errs: it finds them again without a label."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    centres = np.array([[0, 4], [4, -3], [-4, -3]])
    source = (centres[y] + 0.7 * rng.normal(size=(600, 2))).astype("float32")
    angle = np.deg2rad(50)
    target = source @ np.float32([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(8)])
    trained = kt.models.TargetTerms(encoder, keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)]))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained.compile(keras.optimizers.Adam(0.01), loss)
    trained.fit(kt.streams.domains((source, y), target, seed=0), epochs=10, verbose=0)

    def accuracy(model):
        return float((model.predict(target, verbose=0).argmax(1) == y).mean())

    model = kt.models.SHOT.from_source(trained)
    model.compile(keras.optimizers.Adam(0.01))
    model.fit({"target": target}, batch_size=64, epochs=15, verbose=0)
    assert accuracy(trained) < 0.9 and accuracy(model) > 0.97
