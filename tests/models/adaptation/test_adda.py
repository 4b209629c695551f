import keras
import numpy as np
import pytest

import keras_transfer as kt
from tests.models.adaptation import toy


def made(fool_weight=1.0):
    keras.utils.set_random_seed(0)
    networks = toy.networks()
    source = kt.models.TargetTerms(networks["encoder"], networks["head"])
    model = kt.models.ADDA.from_source(source, networks["discriminator"], fool_weight=fool_weight)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return model


def test_each_learns_its_own_aim():
    """The discriminator moves as if nothing fooled it; source encoder and head stay; the target's encoder moves."""
    x, _ = toy.batch()
    found = {}
    for weight in (0.0, 1.0):
        model = made(weight)
        before = [w.numpy() for w in model.weights]
        model.train_on_batch(x)
        found[weight] = model.discriminator.get_weights()
        still = [*model.source_encoder.weights, *model.head.weights]
        moved = {id(w) for w, old in zip(model.weights, before) if not np.array_equal(w.numpy(), old)}
        assert not moved & {id(w) for w in still}
        assert bool(moved & {id(w) for w in model.encoder.weights}) == (weight > 0)
    for without, with_fool in zip(*found.values()):
        np.testing.assert_allclose(with_fool, without, atol=1e-7)


def test_terms_by_hand():
    x, _ = toy.batch()
    model = made(0.5)
    outputs = {name: np.asarray(output, "float64") for name, output in model(x).items()}
    features = model.source_encoder(x["source"]), model.encoder(x["target"])
    source, target = (np.asarray(model.discriminator(one), "float64") for one in features)
    domain = (np.log1p(np.exp(source)).mean() + np.log1p(np.exp(-target)).mean()) / 2
    fool = np.log1p(np.exp(target)).mean()
    np.testing.assert_allclose(outputs["prediction"], model.head(model.encoder(x["target"])), atol=1e-6)
    logs = model.train_on_batch(x, return_dict=True)
    np.testing.assert_allclose([logs["domain_term"], logs["fool_term"]], [domain, fool], rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], domain + 0.5 * fool, rtol=1e-5)


def test_the_target_starts_as_the_source():
    networks = toy.networks()
    source = kt.models.TargetTerms(networks["encoder"], networks["head"])
    model = kt.models.ADDA.from_source(source, networks["discriminator"])
    x = toy.batch()[0]["target"]
    np.testing.assert_array_equal(model(x), source(x))
    assert model.encoder is not model.source_encoder and source.encoder.trainable


def test_labels_and_networks_that_are_not_built():
    x, y = toy.batch()
    with pytest.raises(ValueError, match="Expected batches without labels"):
        made().train_on_batch(x, y)
    networks, open_ended = toy.networks(), keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="Expected `discriminator` to be built"):
        kt.models.ADDA(networks["encoder"], networks["encoder"], networks["head"], open_ended)


def test_the_target_is_brought_to_the_source():
    """A shift that the source's classifier does not know is undone by the target's own encoder."""
    rng = np.random.default_rng(0)
    (source, y), (target, labels) = toy.domain(1024, rng), toy.domain(1024, rng)
    target = target + np.float32([2.5, 0.0])
    keras.utils.set_random_seed(0)
    linear = keras.Sequential([keras.Input((2,)), keras.layers.Dense(toy.DIM)])
    trained = kt.models.TargetTerms(linear, toy.networks()["head"])
    trained.compile(keras.optimizers.Adam(0.02), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    stream = kt.streams.domains((source, y), target, seed=0)
    trained.fit(stream, epochs=5, verbose=0)
    model = kt.models.ADDA.from_source(trained, toy.networks()["discriminator"])
    model.compile(keras.optimizers.Adam(0.005))
    model.fit(stream.map(lambda x, y: x), epochs=20, verbose=0)
    accuracies = [(np.asarray(one(target)).argmax(1) == labels).mean() for one in (trained, model)]
    assert accuracies[1] > accuracies[0] + 0.1
